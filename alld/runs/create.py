"""The folder of a new run: its name, that it is free, and what is in it before the first epoch."""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from alld.config.schema import Config, dump_config
from alld.data.manifest import Manifest
from alld.errors import RunError
from alld.runs.folder import IMAGES, RUNS, Run, git_commit
from alld.runtime.files import is_leftover, sha256_hex, write_csv, write_json, write_text
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
    rows = ({"path": record.path, "sha256": record.sha256} for record in manifest)
    try:
        write_text(folder / "config.yaml", dump_config(config))
        write_text(folder / "split.csv", split_csv)
        write_csv(folder / IMAGES, ("path", "sha256"), rows)
        write_json(folder / "run.json", facts)
    except BaseException:  # a full disk, Ctrl-C: the folder stays free for the next attempt
        for name in ("run.json", *_FIRST):
            (folder / name).unlink(missing_ok=True)
        raise
    return Run(folder)


def check_free(folder: Path) -> None:
    """Raise RunError where a new run would meet an older one or other files.

    One that was killed before it had its run.json is none yet; its lock tells it from others.
    """
    names = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    begun = {name for name in names if name in _FIRST or is_leftover(name)}
    if folder.is_dir() and (not names or names == {LOCK, *begun}):
        return
    if (folder / "run.json").exists():
        hint = f"give a new folder, or go on with --resume {folder}"
        raise RunError(f"--out {folder}: already holds a run; {hint}")
    if folder.exists():
        raise RunError(f"--out {folder}: is not an empty folder; give a new one")


def default_folder(arch: str) -> Path:
    """`runs/<arch>-<local time>`, with a number behind it where that one is taken."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    wanted = RUNS / f"{arch.replace(':', '-').replace('/', '-')}-{stamp}"
    folder, number = wanted, 2
    while folder.exists():
        folder, number = wanted.with_name(f"{wanted.name}-{number}"), number + 1
    return folder
