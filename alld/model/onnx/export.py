"""Export a bundle's network as one ONNX file, after comparing it with the original."""

import copy
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from alld import __version__
from alld.cells.facts import picture_facts
from alld.data.preprocess import normalise, to_square
from alld.errors import BundleError, ConfigError
from alld.model.bundle import Bundle
from alld.model.network import Network, blast_probability
from alld.model.onnx.file import (
    INPUT,
    LARGEST_DIFFERENCE,
    OUTPUTS,
    Exported,
    ExportFacts,
    Parity,
    check_installed,
    messages,
    read_exported,
    sealed,
)
from alld.model.onnx.network import OnnxNetwork
from alld.model.torch_network import TorchNetwork, features_and_logits, fold_batch_norm
from alld.runtime.files import one_line, replacing

if TYPE_CHECKING:
    from onnx import ModelProto

LARGEST_SCORE = 0.01  # robust standard deviations; of limits that lie some 2.5 above the median
_BATCH = 16

Pixels = NDArray[np.uint8]


def write_onnx(bundle: Bundle, out: Path, pictures: Sequence[Pixels], source: str) -> Exported:
    """Write the network of a bundle as ONNX, with the facts that predictions need.

    Args:
        pictures: RGB (H, W, 3), on which it is compared with the original.
        source: a description of these pictures.

    Raises:
        BundleError: P(blast) differs by more than 1e-4, or the file cannot be read back; no file
            is left then.
        ConfigError: a network that ONNX cannot express, or a library that is not installed.
    """
    network = _as_onnx(bundle)
    exported = OnnxNetwork(str(out), network.SerializeToString())
    original = TorchNetwork(copy.deepcopy(bundle.model), bundle.info.image_size, "cpu")
    parity = compare(bundle, original, exported, pictures, source)
    with replacing(out) as beside:
        beside.write_bytes(sealed(network, bundle.info, _facts(bundle, parity), bundle.limits))
        return read_exported(beside)


def compare(
    bundle: Bundle, original: Network, exported: Network, pictures: Sequence[Pixels], source: str
) -> Parity:
    """Compare two networks on pictures.

    Raises:
        BundleError: they differ by over 1e-4 in P(blast), or 0.01 in the score of the limits.
    """
    waiting = iter(pictures)
    probability, score = 0.0, 0.0
    while batch := list(islice(waiting, _BATCH)):
        answers = [_answers(bundle, network, batch) for network in (original, exported)]
        apart = [np.abs(one - other).max() for one, other in zip(*answers, strict=True)]
        probability, score = max(probability, float(apart[0])), max(score, float(apart[1]))
    words = f"P(blast) differs by at most {probability:.1g} on {len(pictures)} {source}"
    if bundle.limits is not None:
        words += f", the distance from the training images by {score:.1g}"
    if not (probability <= LARGEST_DIFFERENCE and score <= LARGEST_SCORE):
        allowed = f"{LARGEST_DIFFERENCE:g} and {LARGEST_SCORE:g} are allowed"
        raise BundleError(f"{bundle.path}: exported, {words}; {allowed}: nothing was written")
    return Parity(
        images=len(pictures),
        source=source,
        probability=probability,
        score=None if bundle.limits is None else score,
        words=words,
    )


def _answers(
    bundle: Bundle, network: Network, pictures: Sequence[Pixels]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return P(blast) (B,) and the score of each picture (B,), 0 without limits."""
    info = bundle.info
    squares = [to_square(pixels, info.image_size, info.unsharp) for pixels in pictures]
    images = normalise(np.stack(squares), info.mean, info.std)
    features, logits = network.look(images, tta=info.tta)
    scores = np.zeros(len(pictures))
    if bundle.limits is not None:
        sides = (max(pixels.shape[:2]) for pixels in pictures)
        facts = np.stack(list(map(picture_facts, squares, sides)))
        scores = bundle.limits.scores(features, facts)
    return blast_probability(logits, info.temperature), scores


class _Portable(nn.Module):
    """The exported function: images to features and logits, upright."""

    def __init__(self, model: nn.Sequential) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return features_and_logits(self.model, images)


def _as_onnx(bundle: Bundle) -> "ModelProto":
    """Convert the network for any batch size, without traces of the computer it was made on."""
    check_installed("exporting to ONNX", "onnx", "onnxruntime", "onnxscript")
    info = bundle.info
    model = fold_batch_norm(copy.deepcopy(bundle.model), info.image_size)
    example = torch.zeros(2, 3, info.image_size, info.image_size)
    try:
        with _quiet():
            program = torch.onnx.export(
                _Portable(model).eval(),
                (example,),
                dynamo=True,
                input_names=[INPUT],
                output_names=list(OUTPUTS),
                dynamic_shapes={INPUT: {0: "batch"}},
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        reason = one_line(str(error).strip().splitlines()[0])[:200]
        raise ConfigError(f"{info.arch}: torch cannot express it in ONNX: {reason}") from error
    assert program is not None
    network: ModelProto = program.model_proto
    for message in messages(network):  # torch writes source lines into each node
        for name in ("metadata_props", "doc_string"):
            if name in message.DESCRIPTOR.fields_by_name:
                message.ClearField(name)
    network.graph.name = info.arch
    network.producer_name, network.producer_version = "alld", __version__
    network.doc_string = f"{'SYNTHETIC. ' if info.data.synthetic else ''}{info.notice}"
    return network


def _facts(bundle: Bundle, parity: Parity) -> ExportFacts:
    info = bundle.info
    names = ("alld", "torch", "onnx", "onnxscript", "onnxruntime")
    views = " of the mean logits over the eight orientations" if info.tta else ""
    return ExportFacts(
        bundle=bundle.identity,
        input=f"{INPUT}: float32 (batch, 3, {info.image_size}, {info.image_size}), red, green, "
        f"blue; {info.preparation}, then (value / 255 - mean) / std",
        output=f"{OUTPUTS[0]}: (batch, features), what the limits are of; {OUTPUTS[1]}: (batch, 2) "
        f"of healthy and blast; P(blast) is the second of softmax(logits / temperature){views}, "
        "and the verdict blast at or above threshold",
        parity=parity,
        versions={name: metadata.version(name) for name in names},
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence torch's exporter, which warns of its own code and reports on standard error."""
    disabled = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
