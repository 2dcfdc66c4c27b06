"""Begin a run: resolve its settings, name its folder, write its first files."""

import time
from datetime import UTC, datetime
from itertools import chain, count
from pathlib import Path
from typing import Any

from alld.config.schema import Config, dump_config
from alld.data.manifest import Manifest
from alld.errors import RunError
from alld.model.weights import sha256_of
from alld.runs.folder import IMAGES, RUNS, Run
from alld.runs.machine import git_commit
from alld.runtime.files import (
    check_writable,
    is_leftover,
    sha256_hex,
    write_csv,
    write_json,
    write_text,
)
from alld.runtime.locks import LOCK

_FIRST = ("config.yaml", "split.csv", IMAGES)  # written before run.json, which makes it a run


def create_run(
    folder: Path, config: Config, manifest: Manifest, split_csv: str, machine: dict[str, Any]
) -> Run:
    """Make the folder of a new run.

    Raises:
        RunError: the folder already holds something.
    """
    check_free(folder)
    folder.mkdir(parents=True, exist_ok=True)
    facts = {
        "state": "running",
        "started": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "seconds": 0.0,
        "arch": config.model.arch,
        "data": {
            "name": manifest.kind,
            "root": str(manifest.root),
            "images": len(manifest),
            "fingerprint": manifest.fingerprint,
            "synthetic": manifest.synthetic,
        },
        "split": {
            "kind": config.split.kind,
            "seed": config.split_seed,
            "sha256": sha256_hex(split_csv.encode()),
        },
        **machine,
        "git_commit": git_commit(),
        "exit": None,
    }
    columns = ("path", "sha256", "pixels_sha256")
    rows = ({name: getattr(record, name) for name in columns} for record in manifest)
    try:
        write_text(folder / "config.yaml", dump_config(config))
        write_text(folder / "split.csv", split_csv)
        write_csv(folder / IMAGES, columns, rows)
        write_json(folder / "run.json", facts)
    except BaseException:  # a full disk, Ctrl-C: the folder stays free for the next attempt
        for name in ("run.json", *_FIRST):
            (folder / name).unlink(missing_ok=True)
        raise
    return Run(folder)


def check_free(folder: Path) -> None:
    """Raise RunError if a folder holds a run or other files.

    A run that was killed before it had a run.json does not count; its lock identifies it. RunError
    is raised as well where the folder cannot be made.
    """
    check_writable(folder)
    names = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    begun = {name for name in names if name in _FIRST or is_leftover(name)}
    if folder.is_dir() and (not names or names == {LOCK, *begun}):
        return
    if (folder / "run.json").exists():
        hint = f"give a new folder, or go on with --resume {folder}"
        raise RunError(f"--out {folder}: already holds a run; {hint}")
    if folder.exists():
        raise RunError(f"--out {folder}: is not an empty folder; give a new one")


def resolve_config(config: Config, manifest: Manifest) -> Config:
    """Return settings that mean the same from any folder and on any later day.

    Raises:
        ConfigError: the file of initial weights is not there.
    """
    root = manifest.root if config.data.root.is_dir() else config.data.root
    groups = config.split.groups and config.split.groups.expanduser().resolve()
    split = config.split.model_copy(update={"seed": config.split_seed, "groups": groups})
    more = [place.expanduser().resolve() for place in config.data.more]
    root = config.data.root if more else root  # the manifest's is what all sets lie in
    data = config.data.model_copy(update={"root": root.expanduser().resolve(), "more": more})
    model = config.model
    if model.weights is not None:
        weights = model.weights.expanduser().resolve()
        found = model.weights_sha256 or sha256_of(weights)
        model = model.model_copy(update={"weights": weights, "weights_sha256": found})
    return config.model_copy(update={"data": data, "split": split, "model": model})


def default_place(name: str, suffix: str = "") -> Path:
    """Return `runs/<name>-<local time><suffix>`, with a number after the time if taken."""
    stem = f"{path_name(name)}-{time.strftime('%Y%m%d-%H%M%S')}"
    numbers = chain([""], (f"-{number}" for number in count(2)))
    places = (RUNS / f"{stem}{number}{suffix}" for number in numbers)
    return next(place for place in places if not place.exists())


def path_name(arch: str) -> str:
    """Return an architecture's name as a part of file names: `timm:a/b` becomes `timm-a-b`."""
    return arch.replace(":", "-").replace("/", "-")
