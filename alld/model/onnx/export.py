"""Export a bundle's network as one ONNX file, after comparing it with the original."""

import copy
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from itertools import islice, repeat
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from alld import __version__
from alld.cells.facts import picture_facts
from alld.cells.view import seen
from alld.data.preprocess import normalise, to_square
from alld.errors import BundleError, ConfigError
from alld.model.bundle import Bundle
from alld.model.bundle_info import BundleInfo
from alld.model.network import Model, Network, blast_probability
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
from alld.model.torch_network import (
    TorchNetwork,
    fold_batch_norm,
    join_bundles,
    joint_features_and_logits,
)
from alld.runtime.files import one_line, replacing

if TYPE_CHECKING:
    from onnx import ModelProto

LARGEST_SCORE = 0.01  # robust standard deviations; of limits that lie some 2.5 above the median
_BATCH = 16

Pixels = NDArray[np.uint8]


def write_onnx(
    path: Path, bundles: Sequence[Bundle], out: Path, pictures: Sequence[Pixels], source: str
) -> Exported:
    """Write the network of one bundle, or of those at `path`, with the facts for predictions.

    Args:
        pictures: RGB (H, W, 3), on which it is compared with the original.
        source: a description of these pictures.

    Raises:
        BundleError: P(blast) differs by more than 1e-4, or the file cannot be read back; no file
            is left then.
        ConfigError: a network that ONNX cannot express, or a library that is not installed.
    """
    models = [copy.deepcopy(bundle.model) for bundle in bundles]
    original = join_bundles(path, bundles, TorchNetwork(models, bundles[0].info.image_size, "cpu"))
    network = _as_onnx(original.info, [bundle.model for bundle in bundles])
    exported = OnnxNetwork(str(out), network.SerializeToString(), members=len(bundles))
    parity = compare(original, exported, pictures, source)
    members = [(bundle.info, bundle.limits) for bundle in bundles]
    with replacing(out) as beside:
        beside.write_bytes(sealed(network, members, _facts(original, parity)))
        return read_exported(beside)


def compare(model: Model, exported: Network, pictures: Sequence[Pixels], source: str) -> Parity:
    """Compare a model on pictures with another network of it.

    Raises:
        BundleError: they differ by over 1e-4 in P(blast), or 0.01 in the score of the limits.
    """
    waiting = iter(pictures)
    probability, score = 0.0, 0.0
    while batch := list(islice(waiting, _BATCH)):
        answers = [_answers(model, network, batch) for network in (model.network, exported)]
        apart = [np.abs(one - other).max() for one, other in zip(*answers, strict=True)]
        probability, score = max(probability, float(apart[0])), max(score, float(apart[1]))
    words = f"P(blast) differs by at most {probability:.1g} on {len(pictures)} {source}"
    if model.limits is not None:
        words += f", the distance from the training images by {score:.1g}"
    if not (probability <= LARGEST_DIFFERENCE and score <= LARGEST_SCORE):
        allowed = f"{LARGEST_DIFFERENCE:g} and {LARGEST_SCORE:g} are allowed"
        raise BundleError(f"{model.path}: exported, {words}; {allowed}: nothing was written")
    return Parity(
        images=len(pictures),
        source=source,
        probability=probability,
        score=None if model.limits is None else score,
        words=words,
    )


def _answers(
    model: Model, network: Network, pictures: Sequence[Pixels]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return P(blast) (B,) and the score of each picture (B,), 0 without limits."""
    info = model.info
    squares = [to_square(pixels, info.image_size, info.unsharp) for pixels in pictures]
    views = np.stack([seen(square, info.view) for square in squares])
    images = normalise(views, info.mean, info.std)
    features, logits = network.look(images, tta=info.tta)
    scores = np.zeros(len(pictures))
    if model.limits is not None:
        sides = (max(pixels.shape[:2]) for pixels in pictures)
        facts = np.stack(list(map(picture_facts, squares, sides, repeat(info.view))))
        scores = model.limits.scores(features, facts)
    return blast_probability(logits, model.temperatures), scores


class _Portable(nn.Module):
    """The exported function: images to features and logits, upright."""

    def __init__(self, models: Sequence[nn.Sequential]) -> None:
        super().__init__()
        self.models = nn.ModuleList(models)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return joint_features_and_logits(self.models, images)  # type: ignore[arg-type]


def _as_onnx(info: BundleInfo, models: Sequence[nn.Sequential]) -> "ModelProto":
    """Convert networks for any batch size, without traces of the computer they were made on."""
    check_installed("exporting to ONNX", "onnx", "onnxruntime", "onnxscript")
    folded = [fold_batch_norm(copy.deepcopy(model), info.image_size) for model in models]
    example = torch.zeros(2, 3, info.image_size, info.image_size)
    try:
        with _quiet():
            program = torch.onnx.export(
                _Portable(folded).eval(),
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


def _facts(model: Model, parity: Parity) -> ExportFacts:
    info, members = model.info, len(model.temperatures)
    names = ("alld", "torch", "onnx", "onnxscript", "onnxruntime")
    views = " of the mean logits over the eight orientations" if info.tta else ""
    each, of_each, mean = "", "", ""
    if members > 1:
        each, of_each, mean = f"{members} x ", ", of one model after the other", "the mean of "
    return ExportFacts(
        bundle=model.identity,
        input=f"{INPUT}: float32 (batch, 3, {info.image_size}, {info.image_size}), red, green, "
        f"blue; {info.preparation}, then (value / 255 - mean) / std",
        output=f"{OUTPUTS[0]}: (batch, {each}features), what the limits are of; {OUTPUTS[1]}: "
        f"(batch, {each}2) of healthy and blast{of_each}; P(blast) is {mean}the second of "
        f"softmax(logits / temperature){views}, and the verdict blast at or above {mean}threshold",
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
