"""An exported model as one ONNX file: facts in its metadata, a hash over it, read with suspicion.

The metadata hold what a bundle holds beside its weights, under the same names. The last entry is
the SHA-256 of all bytes before it: nothing is parsed before that was verified. It shows damage, not
who wrote the file, so what is read is still refused where it is more than plain arithmetic. The
identity is the SHA-256 of the whole file, which `sha256sum` says too.
"""

import binascii
import hashlib
import stat
from base64 import b64decode, b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from alld.errors import BundleError, ConfigError
from alld.model.abstain import Limits
from alld.model.bundle_info import BundleInfo, Sha256, Strict, parse_facts, parse_info
from alld.runtime.files import one_line

if TYPE_CHECKING:  # a library of the extra `onnx`
    from google.protobuf.message import Message
    from onnx import ModelProto

INPUT, OUTPUTS = "images", ("features", "logits")
INFO, FACTS, LIMITS, NOTICE, SEAL = (
    "alld.json", "export.json", "limits.safetensors", "notice", "alld_sha256",
)  # fmt: skip
SCHEMA_VERSION = 1
MOST_BYTES = 2**31 - 1  # that protobuf can hold
LARGEST_DIFFERENCE = 1e-4  # of P(blast), between an exported model and its original
_DOMAINS = {"", "ai.onnx"}  # two names of the one standard


class Parity(Strict):
    """How the exported model was compared with its original, and how far they were apart.

    `probability` is the largest difference of P(blast); `score` that of how far a picture is from
    the training images, in robust standard deviations, where the model has limits.
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
    """A verified file: its bytes for the runtime, and what they say of the model."""

    data: bytes
    info: BundleInfo
    facts: ExportFacts
    limits: Limits | None
    identity: str


def sealed(
    network: "ModelProto", info: BundleInfo, facts: ExportFacts, limits: Limits | None
) -> bytes:
    """The bytes of the whole file.

    Raises:
        ConfigError: a network of 2 GiB or more, for which ONNX needs several files.
    """
    from onnx import ModelProto, StringStringEntryProto

    entries = {
        INFO: info.model_dump_json(indent=2),
        FACTS: facts.model_dump_json(indent=2),
        NOTICE: info.notice,
    }
    if limits is not None:
        entries[LIMITS] = b64encode(save_arrays(limits.arrays())).decode()
    whole = ModelProto()
    whole.CopyFrom(network)
    whole.metadata_props.extend(
        StringStringEntryProto(key=key, value=value) for key, value in entries.items()
    )
    try:
        data: bytes = whole.SerializeToString()
    except ValueError as error:
        raise ConfigError(f"{info.arch}: too large for one ONNX file, 2 GiB") from error
    return data + _seal(hashlib.sha256(data).hexdigest())


def read_exported(path: Path, required: str | None = None) -> Exported:
    """Verify an exported file and read what it says.

    Args:
        required: the identity that it must have, compared before anything is parsed.

    Raises:
        BundleError: no such file, cut short, altered, another's, or one that is more than a
            network: with operators of its own, programs within or data elsewhere.
    """
    data = _read(path)
    identity = _verified(path, data)
    if required is not None and identity != required:
        raise BundleError(f"{path}: is model {identity}, not the required {required}")
    model = _parsed(path, data)
    _check_network(path, model)
    entries = {entry.key: entry.value for entry in model.metadata_props}
    known = {INFO, FACTS, NOTICE, SEAL}
    if len(entries) < len(model.metadata_props) or entries.keys() - {LIMITS} != known:
        raise BundleError(f"{path}: its metadata are not those of `alld export`; export it anew")
    info = parse_info(f"{path}: {INFO}", entries[INFO].encode())
    facts = parse_facts(f"{path}: {FACTS}", entries[FACTS].encode(), ExportFacts, SCHEMA_VERSION)
    features = _check_shapes(path, model, info.image_size)
    limits = _read_limits(path, info, entries.get(LIMITS), features)
    return Exported(data, info, facts, limits, identity)


def needs_extra(error: ImportError, what: str) -> ConfigError:
    """The error of a library that is not installed."""
    return ConfigError(f"{what} needs {error.name}: pip install 'alld[onnx]'")


def messages(message: "Message") -> Iterator["Message"]:
    """A message and all within it; protobuf itself refuses nesting deeper than 100."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in (value,) if hasattr(value, "ListFields") else value:
                yield from messages(inner)


def _seal(sha256: str) -> bytes:
    """One more entry of the metadata: of two protobuf messages in a row, the second is added."""
    from onnx import ModelProto, StringStringEntryProto

    entry = StringStringEntryProto(key=SEAL, value=sha256)
    data: bytes = ModelProto(metadata_props=[entry]).SerializeToString()
    return data


def _read(path: Path) -> bytes:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise BundleError(f"{path}: not a regular file")
        if status.st_size > MOST_BYTES:
            raise BundleError(f"{path}: larger than {MOST_BYTES} bytes, the most of an ONNX file")
        return path.read_bytes()
    except (OSError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or "too large for the memory"
        raise BundleError(f"{path}: cannot be read: {reason}") from error


def _verified(path: Path, data: bytes) -> str:
    """The identity, if the file ends in the hash of what comes before."""
    length = len(_seal("0" * 64))
    if data[-length:-64] != _seal("0" * 64)[:-64]:
        raise BundleError(
            f"{path}: cut short, or not written by `alld export`, which adds to a network what "
            "judging with it takes; export the run again"
        )
    whole = hashlib.sha256(memoryview(data)[:-length])
    if _seal(whole.hexdigest()) != data[-length:]:
        raise BundleError(f"{path}: altered since it was exported (its SHA-256 differs)")
    whole.update(data[-length:])
    return whole.hexdigest()


def _parsed(path: Path, data: bytes) -> "ModelProto":
    from google.protobuf.message import DecodeError
    from onnx import ModelProto

    try:
        model: ModelProto = ModelProto.FromString(data)
        return model
    except DecodeError as error:
        raise BundleError(f"{path}: not an ONNX file; export the run again") from error


def _check_network(path: Path, model: "ModelProto") -> None:
    """Refuse what is more than arithmetic on the one input and the tensors of this file."""
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


def _check_shapes(path: Path, model: "ModelProto", size: int) -> int:
    """Refuse another input or other outputs; returns the number of features."""
    inputs, outputs = map(_shapes, (model.graph.input, model.graph.output))
    features = outputs.get(OUTPUTS[0], [None, None])[-1]
    if (
        inputs != {INPUT: [None, 3, size, size]}
        or outputs != {OUTPUTS[0]: [None, features], OUTPUTS[1]: [None, 2]}
        or not features
    ):
        raise BundleError(
            f"{path}: not a network from {INPUT} of {size} px to {' and '.join(OUTPUTS)}"
        )
    return features


def _shapes(values: object) -> dict[str, list[int | None]]:
    """Name to sides of float32 tensors; None for one that is open, such as the batch."""
    from onnx import TensorProto

    found = {}
    for value in values:  # type: ignore[attr-defined]
        tensor = value.type.tensor_type
        sides = [dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim]
        found[value.name] = sides if tensor.elem_type == TensorProto.FLOAT else []
    return found


def _read_limits(path: Path, info: BundleInfo, text: str | None, features: int) -> Limits | None:
    limit = info.limits.limit
    if (text is None) != (limit is None):
        raise BundleError(f"{path}: {LIMITS} and the limit in {INFO} do not go together")
    if text is None or limit is None:
        return None
    try:
        limits = Limits.from_arrays(load_arrays(b64decode(text, validate=True)), limit)
        if limits.reference.shape[1] != features:
            raise ValueError(f"reference has {limits.reference.shape[1]} features, not {features}")
        return limits
    except (SafetensorError, KeyError, ValueError, binascii.Error) as error:
        first_line = one_line(str(error).splitlines()[0])
        raise BundleError(f"{path}: {LIMITS}: does not fit the model: {first_line}") from error
