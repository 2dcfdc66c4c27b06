"""The run folder: what was asked, what was drawn, what came out. This file needs no fastai."""

import csv
import json
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from alld.config import Config, dump_config, parse_config
from alld.config_file import read_yaml
from alld.data.manifest import LABEL_NAMES, ImageRecord, Manifest, Progress
from alld.data.sources import load_manifest
from alld.data.splits import PARTS, Part, Split
from alld.errors import ConfigError, DataError, RunError
from alld.files import sha256_hex, write_csv, write_json, write_text
from alld.live import LOCK
from alld.model.place import is_exported

RUNS = Path("runs")
IMAGES = "images.csv"
HISTORY = ("epoch", "phase", "train_loss", "valid_loss", "valid_accuracy", "seconds")


@dataclass(frozen=True)
class Run:
    """A run folder on disk. Its parts are read when asked for, so that they are never stale."""

    folder: Path

    @property
    def bundle(self) -> Path:
        return self.folder / "model.alld"

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def config(self) -> Config:
        """The resolved settings."""
        path = self.folder / "config.yaml"
        return parse_config(read_yaml(path), str(path))

    @property
    def info(self) -> dict[str, Any]:
        """`run.json`: state, versions, machine, data, times."""
        text = (self.folder / "run.json").read_text(encoding="utf-8")
        try:
            content: dict[str, Any] = json.loads(text)
        except RecursionError as error:
            raise ValueError("run.json is nested too deeply") from error
        return content

    def update(self, **facts: Any) -> None:
        """Write `facts` into `run.json`."""
        write_json(self.folder / "run.json", {**self.info, **facts})

    def write_history(self, records: Iterable[dict[str, Any]]) -> None:
        write_csv(self.folder / "history.csv", HISTORY, records)

    def history(self) -> list[dict[str, str]]:
        """The rows of `history.csv`, an epoch each."""
        with open(self.folder / "history.csv", encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    @property
    def state(self) -> str:
        """running, interrupted, failed, finished, or damaged where run.json cannot be read."""
        try:
            info = self.info
            _ = info["data"]["synthetic"], info["data"]["name"], info["data"]["images"]
            _ = info["split"]["kind"], info["split"]["seed"], info["arch"], info["started"]
            return str(info["state"])
        except (OSError, ValueError, KeyError, TypeError):
            return "damaged"


def create_run(
    folder: Path, config: Config, manifest: Manifest, split_csv: str, machine: dict[str, Any]
) -> Run:
    """Make the folder of a new run.

    Raises:
        RunError: the folder already holds something.
    """
    check_free(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "config.yaml", dump_config(config))
    write_text(folder / "split.csv", split_csv)
    rows = ({"path": record.path, "sha256": record.sha256} for record in manifest)
    write_csv(folder / IMAGES, ("path", "sha256"), rows)
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
    write_json(folder / "run.json", facts)
    return Run(folder)


def check_free(folder: Path) -> None:
    """Raise RunError where a new run would meet an older one or other files."""
    if folder.is_dir() and all(entry.name == LOCK for entry in folder.iterdir()):
        return
    if (folder / "run.json").exists():
        hint = f"give a new folder, or go on with --resume {folder}"
        raise RunError(f"--out {folder}: already holds a run; {hint}")
    if folder.exists():
        raise RunError(f"--out {folder}: is not an empty folder; give a new one")


def open_run(folder: Path) -> Run:
    """An existing run.

    Raises:
        RunError: no run there, or one whose files are not a run's.
    """
    run = Run(folder)
    if is_exported(folder):
        raise RunError(
            f"{folder}: an exported model, which knows neither its images nor their split; "
            "give the run that it came from"
        )
    if not (folder / "run.json").is_file():
        raise RunError(
            f"{folder}: no run there (no run.json); `alld runs` lists those under ./runs"
        )
    try:
        _ = run.config
    except ConfigError as error:
        raise RunError(f"{folder}: its config.yaml is damaged: {error}") from error
    if run.state == "damaged":
        raise RunError(f"{folder}: its run.json is damaged; train again")
    return run


def default_folder(arch: str) -> Path:
    """`runs/<arch>-<local time>`, with a number behind it where that one is taken."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    wanted = RUNS / f"{arch.replace(':', '-').replace('/', '-')}-{stamp}"
    folder, number = wanted, 2
    while folder.exists():
        folder, number = wanted.with_name(f"{wanted.name}-{number}"), number + 1
    return folder


def list_runs(root: Path = RUNS) -> list[Run]:
    """The runs directly below `root`, oldest first."""
    folders = root.iterdir() if root.is_dir() else ()
    runs = [Run(folder) for folder in folders if (folder / "run.json").is_file()]
    return sorted(runs, key=_age)


def newest_run(root: Path = RUNS) -> Run:
    """The newest finished run on real data.

    Raises:
        RunError: there is none.
    """
    finished = [
        run
        for run in list_runs(root)
        if run.state == "finished" and not run.info["data"]["synthetic"]
    ]
    if not finished:
        raise RunError(
            f"no finished run on real data under {root}/; train one with `alld train`, "
            "or name a model with --model RUN"
        )
    return finished[-1]


def read_manifest(
    run: Run,
    data: Path | None = None,
    progress: Progress | None = None,
    *,
    positive: str | None = None,
    both_classes: bool = True,
) -> Manifest:
    """The images of a run, from where they were, or from `data` if they, or others, lie there.

    `positive` takes the place of the run's own setting; `both_classes` is as in `load_manifest`.

    Raises:
        DataError: they are gone, or no longer a set.
    """
    config = run.config.data
    root = data or config.root
    if data is None and not root.expanduser().exists():
        raise DataError(
            f"{root}: the images of {run.folder} were there and are gone; bring them back, "
            f"or say with --data DIR where they are now"
        )
    changed = {"root": root, "positive": positive or config.positive}
    return load_manifest(config.model_copy(update=changed), progress, both_classes=both_classes)


def read_records(run: Run) -> tuple[ImageRecord, ...]:
    """The images of a run as its own folder knows them: names, labels, hashes.

    Raises:
        RunError: an older run did not write them down, or they were altered since.
    """
    path, facts = run.folder / IMAGES, run.info["data"]
    try:
        with open(path, encoding="utf-8", newline="") as file:
            hashes = [row["sha256"] for row in csv.DictReader(file)]
        with open(run.folder / "split.csv", encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        records = tuple(
            ImageRecord(row["path"], LABEL_NAMES.index(row["label"]), sha256)
            for row, sha256 in zip(rows, hashes, strict=True)
        )
    except (OSError, ValueError, KeyError) as error:
        raise RunError(f"{path}: cannot be read ({error!r}); train again to have it") from error
    if Manifest(Path(), "table", records, synthetic=False).fingerprint != facts["fingerprint"]:
        raise RunError(f"{path}: altered since the run began")
    return records


def read_split(run: Run, manifest: Manifest) -> Split:
    """The split of a run, checked against its hash and against the images of today.

    Raises:
        RunError: the split file was altered, or the data are not those of the training.
    """
    path = run.folder / "split.csv"
    facts, data = run.info, path.read_bytes()
    if sha256_hex(data) != facts["split"]["sha256"]:
        raise RunError(f"{path}: altered since the run began; its hash is not the one in run.json")
    if manifest.fingerprint != facts["data"]["fingerprint"]:
        raise RunError(
            f"{manifest.root}: not the images that {run.folder} was trained on "
            f"({len(manifest)} now, {facts['data']['images']} then); bring the same set back"
        )
    rows = list(csv.DictReader(data.decode("utf-8").splitlines()))
    config = run.config
    return Split(
        config.split.kind,
        config.split_seed,
        tuple(_part(row["part"]) for row in rows),
        tuple(row["group"] for row in rows),
        str(facts.get("groups", "")),
        tuple(row["patient"] for row in rows) if rows and "patient" in rows[0] else (),
    )


def git_commit() -> str | None:
    """The commit of the source checkout that ran, where there is one."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    inside = Path(__file__).parents[2].joinpath("pyproject.toml").is_file()
    return answer.stdout.strip() or None if inside and answer.returncode == 0 else None


def _part(text: str) -> Part:
    for part in PARTS:
        if text == part:
            return part
    raise RunError(f"split.csv: part {text!r} is none of {', '.join(PARTS)}")


def _age(run: Run) -> tuple[str, str]:
    try:
        return str(run.info["started"]), run.folder.name
    except (OSError, ValueError, KeyError, TypeError):
        return "", run.folder.name
