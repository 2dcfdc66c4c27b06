"""The run folder: what was asked, what was drawn, what came out. This file needs no fastai."""

import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alld.config.files import read_yaml
from alld.config.schema import Config, parse_config
from alld.data.manifest import LABEL_NAMES, ImageRecord, Manifest, Progress, differing
from alld.data.sources.find import load_manifest
from alld.data.splits import PARTS, Part, Split
from alld.errors import ConfigError, DataError, RunError
from alld.model.place import is_exported
from alld.runs.facts import check_facts
from alld.runtime.files import sha256_hex, write_csv, write_json
from alld.runtime.reading import parse_csv, read_csv, read_json

RUNS = Path("runs")
IMAGES = "images.csv"
HISTORY = ("epoch", "phase", "train_loss", "valid_loss", "valid_accuracy", "seconds")
_NUMBERS = HISTORY[2:]


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
        """`run.json`: state, versions, machine, data, times. Raises RunError: damaged, or none."""
        try:
            return check_facts(read_json(self.folder / "run.json"))
        except (OSError, ValueError) as error:
            raise RunError(f"{self.folder}: its run.json is damaged; train again") from error

    def update(self, **facts: Any) -> None:
        """Write `facts` into `run.json`."""
        write_json(self.folder / "run.json", {**self.info, **facts})

    def write_history(self, records: Iterable[dict[str, Any]]) -> None:
        """Write an epoch a row.

        Raises:
            RunError: the folder was removed or moved; it would come into being again, half empty.
        """
        if not (self.folder / "run.json").exists():
            advice = "if it was moved, go on with --resume where it is now"
            raise RunError(f"{self.folder}: was taken away during the training; {advice}")
        write_csv(self.folder / "history.csv", HISTORY, records)

    def history(self) -> list[dict[str, str]]:
        """The rows of `history.csv`, an epoch each. Raises RunError: damaged, or none."""
        path = self.folder / "history.csv"
        try:
            rows = read_csv(path)
            _ = [(int(row["epoch"]), [float(row[name]) for name in _NUMBERS]) for row in rows]
        except (OSError, ValueError, KeyError) as error:
            raise RunError(f"{path}: damaged ({error!r}); train again") from error
        if not rows:
            raise RunError(f"{path}: has no rows; train again")
        return rows

    @property
    def state(self) -> str:
        """running, interrupted, failed, finished, or damaged where run.json cannot be read."""
        try:
            return str(self.info["state"])
        except RunError:
            return "damaged"


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
    _ = run.info
    return run


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
        hashes = [row["sha256"] for row in read_csv(path)]
        rows = read_csv(run.folder / "split.csv")
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
    facts = run.info
    try:
        data = path.read_bytes()
        rows = parse_csv(data.decode("utf-8"))
        named = [row["path"] for row in rows]
    except (OSError, ValueError, KeyError) as error:
        raise RunError(f"{path}: cannot be read ({error!r}); train again") from error
    if sha256_hex(data) != facts["split"]["sha256"]:
        raise RunError(f"{path}: altered since the run began; its hash is not the one in run.json")
    if manifest.fingerprint != facts["data"]["fingerprint"]:
        counts = f"{len(manifest)} now, {facts['data']['images']} then"
        raise RunError(
            f"{manifest.root}: not the images that {run.folder} was trained on "
            f"({counts}{_other_images(run, manifest)}); bring the same set back"
        )
    if named != [record.path for record in manifest]:
        raise RunError(f"{path}: not the split of these images; train again")
    config = run.config
    return Split(
        config.split.kind,
        config.split_seed,
        tuple(_part(row.get("part", "")) for row in rows),
        tuple(row.get("group", "") for row in rows),
        str(facts.get("groups", "")),
        tuple(row["patient"] for row in rows) if rows and "patient" in rows[0] else (),
    )


def _other_images(run: Run, manifest: Manifest) -> str:
    """`: 1 changed (first: a.tif)`, or nothing of an older run, which did not write them down."""
    try:
        then, now = (
            {record.path: f"{record.sha256} {record.label}" for record in records}
            for records in (read_records(run), manifest)
        )
    except RunError:
        return ""
    return f": {differing(then, now)}"


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
    except RunError:
        return "", run.folder.name
