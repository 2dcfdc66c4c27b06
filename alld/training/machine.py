"""The machine under a training: prepared, written down, held against that of a resume."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from alld.config.schema import Config
from alld.data.manifest import Manifest
from alld.data.splits import Split, split_text
from alld.errors import ConfigError, RunError
from alld.model.bundle import library_versions
from alld.runs.folder import Run
from alld.runtime.device import keep_freed_memory, resolve_device, set_threads
from alld.runtime.files import sha256_hex
from alld.runtime.threads import usable_cores
from alld.training.checkpoints import Checkpoint
from alld.training.parallel import parallel_facts
from alld.training.ranks import agree, size

# Settings that change no weight: where things lie, what is done afterwards, how memory is used.
_WITHOUT_EFFECT = ("data.root", "evaluate.", "runtime.")
_OF_MACHINE = ("device", "precision", "threads", "workers", "world_size", "versions")


def prepare_machine(config: Config) -> dict[str, Any]:
    """Set threads and memory as the settings say, and return what the weights depend on."""
    device = resolve_device(config.runtime.device)
    return {
        "device": str(device),
        "precision": precision(config, device),
        "kept_memory": config.runtime.keep_memory and keep_freed_memory(),
        "threads": set_threads(config.runtime.threads),
        "workers": config.runtime.workers or usable_cores(),
        "world_size": size(),
        "parallel": parallel_facts(config, device),
        "versions": library_versions(),
    }


def precision(config: Config, device: torch.device) -> str:
    """bf16 has the range of fp32 and needs no loss scaling; on CPUs it is slower."""
    wanted, able = config.runtime.precision, device.type == "cuda"
    if wanted == "bf16" and not able:
        raise ConfigError(f"runtime.precision: bf16 is for CUDA, and the device is {device}")
    if wanted == "auto":
        return "bf16" if able and torch.cuda.is_bf16_supported() else "fp32"
    return wanted


def origin(config: Config, info: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint's weights come from; `info` is the content of run.json."""
    return {
        "config": config.model_dump(mode="json"),
        "fingerprint": info["data"]["fingerprint"],
        "split_sha256": info["split"]["sha256"],
        **of_machine(info),
    }


def of_machine(info: Mapping[str, Any]) -> dict[str, Any]:
    """What of run.json, or of `prepare_machine`, says under which conditions weights came out."""
    return {name: info.get(name) for name in _OF_MACHINE}


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """`threads: 2 then, 1 now` for everything that can change the weights, of two origins."""
    former, present = dict(_leaves(then)), dict(_leaves(now))
    return [
        f"{name.removeprefix('config.')}: {former.get(name)} then, {present.get(name)} now"
        for name in {**former, **present}
        if former.get(name) != present.get(name)
        and not name.removeprefix("config.").startswith(_WITHOUT_EFFECT)
    ]


def changes(
    run: Run, checkpoint: Checkpoint | None, machine: dict[str, Any], *, allow_inexact: bool
) -> list[str]:
    """What differs from the training so far; without a checkpoint there is none to differ from.

    Raises:
        RunError: something does, and that is not allowed.
    """
    if checkpoint is None:
        return []
    changed = differences(checkpoint.origin, origin(run.config, {**run.info, **machine}))
    if changed and not allow_inexact:
        raise inexact(run.folder, changed)
    return changed


def inexact(folder: Path, changed: Sequence[str]) -> RunError:
    """What to raise where a resume meets other conditions."""
    return RunError(
        f"--resume {folder}: {'; '.join(changed)}. The same weights would not come out; "
        "bring that back, or go on with --allow-inexact, which is recorded"
    )


def agree_on_all(
    config: Config, manifest: Manifest, split: Split, machine: Mapping[str, Any]
) -> None:
    """Hold what the weights come from against what the other processes of this training have.

    Raises:
        RunError: it differs; no one model would come out.
    """
    settings = config.model_dump_json(exclude={"data": {"root"}, "model": {"weights"}})
    facts = {
        "settings": settings,
        "images": manifest.fingerprint,
        "split": sha256_hex(split_text(manifest, split).encode()),
        "threads": str(machine["threads"]),
        "versions": str(machine["versions"]),
    }
    for name, value in facts.items():
        agree(name, value, "give all processes the same")


def _leaves(facts: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in facts.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value
