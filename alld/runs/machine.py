"""Prepare the machine for a training, and compare the conditions of two trainings."""

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from alld.config.schema import Config, RuntimeConfig
from alld.errors import ConfigError, RunError
from alld.model.bundle import library_versions
from alld.runtime.device import keep_freed_memory, resolve_device, set_threads
from alld.runtime.launch import launched
from alld.runtime.threads import usable_cores

# Settings that change no weight: where things lie, what is done afterwards, how memory is used.
# The fingerprint of the images holds their labels, whatever names gave them, and the hash of the
# split what sessions and fields decided.
_WITHOUT_EFFECT = (
    "data.root", "data.more", "data.positive", "data.healthy", "data.crop", "data.session_gap",
    "split.fields", "evaluate.", "runtime.",
)  # fmt: skip
_CONDITIONS = ("device", "precision", "threads", "workers", "world_size", "versions")


def prepare_machine(config: RuntimeConfig) -> dict[str, Any]:
    """Set threads and memory as the settings say, and return what the weights depend on.

    Raises:
        ConfigError: a device or a precision that this machine lacks.
    """
    device = resolve_device(config.device)
    return {
        "device": str(device),
        "precision": _precision(config.precision, device),
        "kept_memory": config.keep_memory and keep_freed_memory(),
        "threads": set_threads(config.threads),
        "workers": config.workers or usable_cores(),
        "world_size": launched().world_size,
        "versions": library_versions(),
    }


def _precision(wanted: str, device: torch.device) -> str:
    # bf16 has the range of fp32 and needs no loss scaling; on CPUs it is slower.
    able = device.type == "cuda"
    if wanted == "bf16" and not able:
        raise ConfigError(f"runtime.precision: bf16 is for CUDA, and the device is {device}")
    if wanted == "auto":
        return "bf16" if able and torch.cuda.is_bf16_supported() else "fp32"
    return wanted


def git_commit() -> str | None:
    """Return the commit of the source checkout that is running, if it is one."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    inside = Path(__file__).parents[2].joinpath("pyproject.toml").is_file()
    return answer.stdout.strip() or None if inside and answer.returncode == 0 else None


def origin(config: Config, info: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a checkpoint's weights come from; `info` is the content of run.json."""
    return {
        "config": config.model_dump(mode="json"),
        "fingerprint": info["data"]["fingerprint"],
        "split_sha256": info["split"]["sha256"],
        **conditions_of(info),
    }


def conditions_of(info: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of run.json, or of `prepare_machine`, that the weights depend on."""
    return {name: info.get(name) for name in _CONDITIONS}


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return `threads: 2 then, 1 now` for each difference that can change the weights."""
    usual = {"config": Config().model_dump(mode="json")} if "config" in then else {}
    # What a run of an older version has no setting for is what is the default today.
    former, present = {**dict(_leaves(usual)), **dict(_leaves(then))}, dict(_leaves(now))
    return [
        f"{name.removeprefix('config.')}: {former.get(name)} then, {present.get(name)} now"
        for name in {**former, **present}
        if former.get(name) != present.get(name)
        and not name.removeprefix("config.").startswith(_WITHOUT_EFFECT)
    ]


def inexact(folder: Path, changed: Sequence[str]) -> RunError:
    """Return the error of a resume under other conditions."""
    return RunError(
        f"--resume {folder}: {'; '.join(changed)}. The same weights would not come out; "
        "bring that back, or go on with --allow-inexact, which is recorded"
    )


def _leaves(facts: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in facts.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value
