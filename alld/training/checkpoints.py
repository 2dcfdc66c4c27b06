"""Save and load checkpoints: weights, optimiser, history and place of a training.

A checkpoint is a folder such as `epoch-007` of safetensors and JSON, with their SHA256SUMS; the
newest two are kept. With `train.select: best` the weights of the best epoch are kept as `best-005`.
"""

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from fastai.optimizer import Optimizer
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from alld.errors import RunError
from alld.runtime.files import new_folder, sums_of, write_bytes
from alld.runtime.reading import parse_json

KEPT = 2
EPOCH, BEST = "epoch-", "best-"
_WEIGHTS, _OPTIMISER, _PLACE = "weights.safetensors", "optimiser.safetensors", "checkpoint.json"
_SUMS = "SHA256SUMS"
_DAMAGES = (OSError, ValueError, KeyError, TypeError, SafetensorError)


@dataclass(frozen=True)
class EpochRecord:
    """A row of history.csv; losses are means over images."""

    epoch: int  # from 1, over both phases
    phase: str
    train_loss: float
    valid_loss: float
    valid_accuracy: float
    seconds: float


@dataclass(frozen=True)
class Checkpoint:
    """The state after `epochs_done` epochs, over both phases; see `machine.origin` for `origin`."""

    epochs_done: int
    origin: dict[str, Any]
    history: tuple[EpochRecord, ...]
    weights: dict[str, Tensor]
    optimiser_tensors: dict[str, Tensor]
    optimiser_scalars: dict[str, Any]

    def restore_weights(self, model: nn.Module) -> None:
        """Load the weights; raise RunError if they are those of another network."""
        try:
            model.load_state_dict(self.weights)
        except RuntimeError as error:
            advice = "bring back model.arch as it was, or train anew"
            raise RunError(f"the checkpoint is of another network than this; {advice}") from error

    def restore_optimiser(self, optimiser: Optimizer) -> None:
        """Load the moments; call it after `freeze` or `unfreeze`, which clear them."""
        parameters = [parameter for parameter, *_ in optimiser.all_params()]
        for name, value in {**self.optimiser_scalars, **self.optimiser_tensors}.items():
            number, key = name.split(".")
            parameter = parameters[int(number)]
            if isinstance(value, Tensor):
                # Moments have the parameter's own memory format: see FusedAdam.
                like = parameter if value.shape == parameter.shape else value
                moments = torch.empty_like(like, device=parameter.device).copy_(value)
                optimiser.state[parameter][key] = moments
            else:
                optimiser.state[parameter][key] = value


def save_checkpoint(
    folder: Path,
    model: nn.Module,
    optimiser: Optimizer,
    history: Sequence[EpochRecord],
    origin: Mapping[str, Any],
    *,
    best: bool,
) -> None:
    """Write the state after the last epoch of `history` and remove all but the newest two.

    Args:
        origin: see `machine.origin`.
        best: whether this epoch is the best so far.
    """
    tensors, scalars = _optimiser_state(optimiser)
    weights = save(_contiguous(model.state_dict()))
    place = {
        "epochs_done": len(history),
        "history": [asdict(record) for record in history],
        "origin": origin,
    }
    if best:  # first: after a kill between the two this epoch is done again, and is the best again
        _write(folder, BEST, place, {_WEIGHTS: weights}, kept=1)
    place["optimiser"] = scalars
    _write(folder, EPOCH, place, {_WEIGHTS: weights, _OPTIMISER: save(tensors)}, kept=KEPT)


def load_newest(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """Return the newest undamaged checkpoint, or None, and a warning for each damaged one."""
    damaged: list[str] = []
    for path in _newest_first(folder, EPOCH):
        try:
            found = _checkpoint(path)
        except _DAMAGES as error:
            damaged.append(f"{path}: damaged ({error})")
        else:
            return found, [f"{fault}; going on from {path.name}" for fault in damaged]
    return None, [f"{fault}; none is left, beginning again" for fault in damaged]


def load_best_weights(folder: Path) -> dict[str, Tensor]:
    """Return the weights of the epoch with the lowest validation loss.

    Raises:
        RunError: they are missing or damaged.
    """
    try:
        path = next(iter(_newest_first(folder, BEST)), folder / BEST)
        return load(_read(path, (_WEIGHTS,))[_WEIGHTS])
    except _DAMAGES as error:
        reason = f"the best epoch's weights are gone ({error})"
        raise RunError(f"{folder}: {reason}; train again") from error


def _write(
    folder: Path, kind: str, place: Mapping[str, Any], contents: Mapping[str, bytes], *, kept: int
) -> None:
    whole = {**contents, _PLACE: json.dumps(place, indent=1).encode()}
    with new_folder(folder / f"{kind}{place['epochs_done']:03d}") as new:
        for name, data in {**whole, _SUMS: sums_of(whole).encode()}.items():
            write_bytes(new / name, data)
    for old in _newest_first(folder, kind)[kept:]:
        shutil.rmtree(old, ignore_errors=True)  # if it stays it costs room, not the training


def _read(path: Path, names: Iterable[str]) -> dict[str, bytes]:
    """Return the named files of a checkpoint after checking their hashes."""
    contents = {name: (path / name).read_bytes() for name in names}
    known = (path / _SUMS).read_text(encoding="ascii").splitlines()
    for line in sums_of(contents).splitlines():
        if line not in known:
            raise ValueError(f"the SHA-256 of {line.split()[1]} differs")
    return contents


def _checkpoint(path: Path) -> Checkpoint:
    contents = _read(path, (_WEIGHTS, _OPTIMISER, _PLACE))
    place = parse_json(contents[_PLACE])
    return Checkpoint(
        epochs_done=place["epochs_done"],
        origin=place["origin"],
        history=tuple(EpochRecord(**record) for record in place["history"]),
        weights=load(contents[_WEIGHTS]),
        optimiser_tensors=load(contents[_OPTIMISER]),
        optimiser_scalars=place["optimiser"],
    )


def _newest_first(folder: Path, kind: str) -> list[Path]:
    """Return the checkpoints of a kind; copies under other names do not count."""
    numbers = {path: path.name[len(kind) :] for path in folder.glob(f"{kind}*")}
    numbered = [path for path, number in numbers.items() if number.isdecimal()]
    return sorted(numbered, key=lambda path: int(numbers[path]), reverse=True)


def _optimiser_state(optimiser: Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return tensors and scalars of fastai's state of each parameter, keyed `number.key`."""
    tensors: dict[str, Tensor] = {}
    scalars: dict[str, Any] = {}
    for number, (parameter, *_) in enumerate(optimiser.all_params()):
        for key, value in optimiser.state[parameter].items():
            (tensors if isinstance(value, Tensor) else scalars)[f"{number}.{key}"] = value
    return _contiguous(tensors), scalars


def _contiguous(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    # safetensors refuses channels_last; clones, because it refuses shared memory too.
    return {
        k: v.detach().cpu().clone(memory_format=torch.contiguous_format) for k, v in tensors.items()
    }
