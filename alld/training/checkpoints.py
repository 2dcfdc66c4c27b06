"""What a killed run goes on from: weights, optimiser, history and place, two checkpoints deep.

A checkpoint is a folder `epoch-007` of safetensors and JSON with a hash of each; the best epoch so
far is kept as `best` where `train.select: best` asks for it.
"""

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from fastai.optimizer import Optimizer
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from alld.errors import RunError
from alld.files import new_folder, sha256_hex, write_bytes

KEPT = 2
_WEIGHTS, _OPTIMISER, _PLACE = "weights.safetensors", "optimiser.safetensors", "checkpoint.json"


@dataclass(frozen=True)
class EpochRecord:
    """One row of `history.csv`: losses are means over images."""

    epoch: int  # from 1, over both phases
    phase: str
    train_loss: float
    valid_loss: float
    valid_accuracy: float
    seconds: float


@dataclass(frozen=True)
class Checkpoint:
    """The state after `epochs_done` epochs, over both phases."""

    epochs_done: int
    history: tuple[EpochRecord, ...]
    weights: dict[str, Tensor]
    optimiser_tensors: dict[str, Tensor]
    optimiser_scalars: dict[str, Any]

    def restore_optimiser(self, optimiser: Optimizer) -> None:
        """Put the moments back; call it after `freeze` or `unfreeze`, which clear them."""
        for number, parameter in enumerate(_parameters(optimiser)):
            state = optimiser.state[parameter]
            state.update(_of_parameter(self.optimiser_scalars, number))
            for key, saved in _of_parameter(self.optimiser_tensors, number).items():
                # Moments go back into the parameter's own memory format: see FusedAdam.
                like = parameter if saved.shape == parameter.shape else saved
                state[key] = torch.empty_like(like, device=parameter.device).copy_(saved)


def save_checkpoint(
    folder: Path, model: nn.Module, optimiser: Optimizer, history: list[EpochRecord], *, best: bool
) -> None:
    """Write the state after the last epoch of `history` and drop all but the newest two."""
    tensors, scalars = _optimiser_state(optimiser)
    contents = {_WEIGHTS: save(_contiguous(model.state_dict())), _OPTIMISER: save(tensors)}
    place = {
        "epochs_done": len(history),
        "history": [asdict(record) for record in history],
        "optimiser": scalars,
        "sha256": {name: sha256_hex(data) for name, data in contents.items()},
    }
    contents[_PLACE] = json.dumps(place, indent=1).encode()
    with new_folder(folder / f"epoch-{len(history):03d}") as new:
        for name, data in contents.items():
            write_bytes(new / name, data)
    if best:
        with new_folder(folder / "best") as new:
            write_bytes(new / _WEIGHTS, contents[_WEIGHTS])
    for old in _newest_first(folder)[KEPT:]:
        shutil.rmtree(old)


def load_newest(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint whose hashes hold, or None, and what was wrong with any newer ones."""
    warnings: list[str] = []
    for path in _newest_first(folder):
        try:
            return _read(path), warnings
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            warnings.append(f"{path}: damaged ({error}); going on from the one before it")
    return None, warnings


def load_best_weights(folder: Path) -> dict[str, Tensor]:
    """The weights of the epoch with the lowest validation loss.

    Raises:
        RunError: they were never written or cannot be read.
    """
    try:
        return load((folder / "best" / _WEIGHTS).read_bytes())
    except (OSError, SafetensorError) as error:
        raise RunError(f"{folder / 'best'}: the best epoch's weights are gone: {error}") from error


def _read(path: Path) -> Checkpoint:
    place = json.loads((path / _PLACE).read_bytes())
    contents = {name: (path / name).read_bytes() for name in (_WEIGHTS, _OPTIMISER)}
    for name, data in contents.items():
        if sha256_hex(data) != place["sha256"][name]:
            raise ValueError(f"the SHA-256 of {name} differs")
    return Checkpoint(
        epochs_done=place["epochs_done"],
        history=tuple(EpochRecord(**record) for record in place["history"]),
        weights=load(contents[_WEIGHTS]),
        optimiser_tensors=load(contents[_OPTIMISER]),
        optimiser_scalars=place["optimiser"],
    )


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("epoch-*"), key=lambda path: int(path.name[6:]), reverse=True)


def _parameters(optimiser: Optimizer) -> Iterator[nn.Parameter]:
    for parameter, *_ in optimiser.all_params():
        yield parameter


def _optimiser_state(optimiser: Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """fastai keeps a dict for each parameter: tensors and numbers go apart, keyed `number.key`."""
    tensors: dict[str, Tensor] = {}
    scalars: dict[str, Any] = {}
    for number, parameter in enumerate(_parameters(optimiser)):
        for key, value in optimiser.state[parameter].items():
            (tensors if isinstance(value, Tensor) else scalars)[f"{number}.{key}"] = value
    return _contiguous(tensors), scalars


def _of_parameter(state: dict[str, Any], number: int) -> dict[str, Any]:
    prefix = f"{number}."
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def _contiguous(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    # safetensors refuses channels_last; clones, because it refuses shared memory too.
    return {
        k: v.detach().cpu().clone(memory_format=torch.contiguous_format) for k, v in tensors.items()
    }
