"""An exported model as one ONNX file: facts in its metadata, and a hash over it.

The metadata hold what a bundle holds beside its weights, under the same names; where the file
holds several models, as those of a cross-validation, each has its number before its names. The
last entry is the SHA-256 of all bytes before it, and nothing is parsed before that was verified.
The hash shows damage, not who wrote the file: everything beyond plain arithmetic is rejected. The
identity is the SHA-256 of the whole file, as `sha256sum` prints it.
"""

import hashlib
from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field
from safetensors.numpy import save as save_arrays

from alld.errors import BundleError, ConfigError
from alld.model.abstain import Limits
from alld.model.bundle_info import (
    INFO,
    LIMITS,
    BundleInfo,
    Sha256,
    Strict,
    check_identity,
    parse_facts,
    parse_info,
    parse_limits,
    read_whole,
)
from alld.runtime.files import one_line

if TYPE_CHECKING:  # a library of the extra `onnx`
    from google.protobuf.message import Message
    from onnx import ModelProto

INPUT, OUTPUTS = "images", ("features", "logits")
FACTS, NOTICE, SEAL = "export.json", "notice", "alld_sha256"
SCHEMA_VERSION = 1
MOST_BYTES = 2**31 - 1  # that protobuf can hold
LARGEST_DIFFERENCE = 1e-4  # of P(blast), between an exported model and its original
_INSTALL = "pip install onnx onnxscript onnxruntime"  # the extra `onnx`
_DOMAINS = {"", "ai.onnx"}  # two names of the standard operators


class Parity(Strict):
    """The largest differences between an exported model and its original on `images` pictures.

    `probability` is of P(blast); `score` of the distance from the training images, in robust
    standard deviations, where the model has limits.
    """

    images: int = Field(ge=1)
    source: str
    probability: float = Field(ge=0, le=LARGEST_DIFFERENCE)
    score: float | None
    words: str


class ExportFacts(Strict):
    """Where an exported model comes from; the content of `export.json`."""

    schema_version: Literal[1] = 1
    bundle: Sha256  # the identity of what was exported
    input: str
    output: str
    parity: Parity
    versions: dict[str, str]


@dataclass(frozen=True)
class Exported:
    """A verified file: its bytes, and what its metadata say about the models in it."""

    data: bytes
    members: tuple[tuple[BundleInfo, Limits | None], ...]
    facts: ExportFacts
    identity: str


def sealed(
    network: "ModelProto",
    members: Sequence[tuple[BundleInfo, Limits | None]],
    facts: ExportFacts,
) -> bytes:
    """Return the bytes of the whole file: a network of one model or several, and their facts.

    Raises:
        ConfigError: a network of 2 GiB or more, for which ONNX needs several files.
    """
    from onnx import ModelProto, StringStringEntryProto

    entries = {FACTS: facts.model_dump_json(indent=2), NOTICE: members[0][0].notice}
    for place, (info, limits) in zip(_places(len(members)), members, strict=True):
        entries[place + INFO] = info.model_dump_json(indent=2)
        if limits is not None:
            entries[place + LIMITS] = b64encode(save_arrays(limits.arrays())).decode()
    whole = ModelProto()
    whole.CopyFrom(network)
    whole.metadata_props.extend(
        StringStringEntryProto(key=key, value=value) for key, value in entries.items()
    )
    try:
        data: bytes = whole.SerializeToString()
    except ValueError as error:
        raise ConfigError(f"{members[0][0].arch}: too large for one ONNX file, 2 GiB") from error
    return data + _seal(hashlib.sha256(data).hexdigest())


def read_exported(path: Path, required: str | None = None) -> Exported:
    """Verify an exported file and read its facts.

    Args:
        required: the identity that it must have, compared before anything is parsed.

    Raises:
        BundleError: no such file, one that is cut short, altered or of another program, or one
            with operators of its own, programs within, or data elsewhere.
    """
    from google.protobuf.message import DecodeError
    from onnx import ModelProto

    data = read_whole(path, MOST_BYTES, follow_links=True)
    identity = _verified(path, data)
    check_identity(path, identity, required)
    try:
        model: ModelProto = ModelProto.FromString(data)
    except DecodeError as error:
        raise BundleError(f"{path}: not an ONNX file; export the run again") from error
    _check_network(path, model)
    entries = {entry.key: entry.value for entry in model.metadata_props}
    places = _places(sum(key.endswith(INFO) for key in entries))
    known = {FACTS, NOTICE, SEAL, *(place + INFO for place in places)}
    odd = entries.keys() - {place + LIMITS for place in places} != known
    if odd or len(entries) < len(model.metadata_props) or not places:
        raise BundleError(f"{path}: its metadata are not those of `alld export`; export it anew")
    infos = [
        parse_info(f"{path}: {place}{INFO}", entries[place + INFO].encode()) for place in places
    ]
    facts = parse_facts(f"{path}: {FACTS}", entries[FACTS].encode(), ExportFacts, SCHEMA_VERSION)
    features = _check_shapes(path, model, infos)
    limits = [
        parse_limits(path, _arrays(entries.get(place + LIMITS)), info, features)
        for place, info in zip(places, infos, strict=True)
    ]
    return Exported(data, tuple(zip(infos, limits, strict=True)), facts, identity)


def _places(members: int) -> list[str]:
    """Return what stands before the names of each model's facts; of a single one, nothing."""
    return [""] if members == 1 else [f"{number}/" for number in range(1, members + 1)]


def _arrays(entry: str | None) -> bytes | None:
    try:
        return None if entry is None else b64decode(entry, validate=True)
    except ValueError:
        return b""  # which is rejected as tensors


def check_installed(purpose: str, *libraries: str) -> None:
    """Raise ConfigError if a library of the extra `onnx` is not installed."""
    try:
        for library in libraries:
            import_module(library)
    except ImportError as error:
        raise ConfigError(f"{purpose} needs {error.name}: {_INSTALL}") from error


def messages(message: "Message") -> Iterator["Message"]:
    """Yield a message and all messages within it; protobuf limits nesting to 100."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in (value,) if hasattr(value, "ListFields") else value:
                yield from messages(inner)


def _seal(sha256: str) -> bytes:
    """Return the hash as bytes to append: protobuf merges two messages in a row into one."""
    from onnx import ModelProto, StringStringEntryProto

    entry = StringStringEntryProto(key=SEAL, value=sha256)
    data: bytes = ModelProto(metadata_props=[entry]).SerializeToString()
    return data


def _verified(path: Path, data: bytes) -> str:
    """Return the identity of a file that ends in the hash of all bytes before."""
    length = len(_seal("0" * 64))
    if data[-length:-64] != _seal("0" * 64)[:-64]:
        raise BundleError(
            f"{path}: cut short, or not written by `alld export`, which adds the facts that "
            "predictions need; export the run again"
        )
    whole = hashlib.sha256(memoryview(data)[:-length])
    if _seal(whole.hexdigest()) != data[-length:]:
        raise BundleError(f"{path}: altered since it was exported (its SHA-256 differs)")
    whole.update(data[-length:])
    return whole.hexdigest()


def _check_network(path: Path, model: "ModelProto") -> None:
    """Reject everything but arithmetic on the input and on tensors within this file."""
    from onnx import AttributeProto, NodeProto, TensorProto

    domains = {opset.domain for opset in model.opset_import}
    for message in messages(model):
        if isinstance(message, NodeProto):
            domains.add(message.domain)
        elif isinstance(message, TensorProto) and (
            message.external_data or message.data_location == TensorProto.EXTERNAL
        ):
            raise BundleError(f"{path}: refers to data in other files; a model is one file")
        elif isinstance(message, AttributeProto) and (message.graphs or message.HasField("g")):
            raise BundleError(f"{path}: holds a program within a network, such as a loop")
    odd = sorted(domains - _DOMAINS)
    if odd or model.functions or model.training_info:
        named = one_line(odd[0] if odd else "functions or training steps of its own")
        raise BundleError(f"{path}: uses {named}; a model uses the operators of ONNX alone")


def _check_shapes(path: Path, model: "ModelProto", infos: Sequence[BundleInfo]) -> int:
    """Reject other inputs and outputs, and return the number of features of each model."""
    inputs, outputs = map(_shapes, (model.graph.input, model.graph.output))
    size, members = infos[0].image_size, len(infos)
    features = outputs.get(OUTPUTS[0], [None, None])[-1]
    if (
        inputs != {INPUT: [None, 3, size, size]}
        or outputs != {OUTPUTS[0]: [None, features], OUTPUTS[1]: [None, 2 * members]}
        or not features
        or features % members
    ):
        what = "a network" if members == 1 else f"{members} networks"
        raise BundleError(
            f"{path}: not {what} from {INPUT} of {size} px to {' and '.join(OUTPUTS)}"
        )
    return features // members


def _shapes(values: object) -> dict[str, list[int | None]]:
    """Return the sides of each float32 tensor by its name; None for an open one, as the batch."""
    from onnx import TensorProto

    found = {}
    for value in values:  # type: ignore[attr-defined]
        tensor = value.type.tensor_type
        sides = [dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim]
        found[value.name] = sides if tensor.elem_type == TensorProto.FLOAT else []
    return found
