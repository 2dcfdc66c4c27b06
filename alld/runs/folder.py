"""Read a run folder: its settings, facts, images, split and history."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from alld.config.files import read_yaml
from alld.config.schema import Config, parse_config
from alld.data.manifest import LABEL_NAMES, ImageRecord, Manifest, Part, Progress, differing
from alld.data.sources.find import load_manifest
from alld.data.splits import PARTS, Split
from alld.errors import ConfigError, DataError, ImageError, RunError
from alld.model.place import PLAN, is_exported
from alld.runtime.files import sha256_hex, write_csv, write_json
from alld.runtime.reading import parse_csv, read_csv, read_json

RUNS = Path("runs")
IMAGES = "images.csv"
HISTORY = ("epoch", "phase", "train_loss", "valid_loss", "valid_accuracy", "seconds")
_NUMBERS = HISTORY[2:]


class _Facts(BaseModel):
    """The facts of run.json that are relied on, with their types; others may be there."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)


class _Data(_Facts):
    name: str
    root: str
    images: int
    fingerprint: str
    synthetic: bool


class _Split(_Facts):
    kind: str
    seed: int
    sha256: str


class _RunFacts(_Facts):
    """Facts that older runs did not record have a default."""

    state: str
    started: str
    seconds: float
    arch: str
    data: _Data
    split: _Split
    groups: str | None = None
    device: str | None = None
    precision: str | None = None
    threads: int | None = None
    workers: int | None = None
    world_size: int | None = None
    versions: dict[str, str] | None = None
    parallel: dict[str, Any] | None = None
    git_commit: str | None = None
    inexact: list[str] = []
    resumed: int = 0
    tracked: str | None = None


@dataclass(frozen=True)
class Run:
    """A run folder on disk; its parts are read anew at each access."""

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
        """The content of run.json. Raises RunError: it is missing or damaged."""
        try:
            facts: dict[str, Any] = read_json(self.folder / "run.json")
            _RunFacts.model_validate(facts)
        except (OSError, ValueError) as error:
            raise RunError(f"{self.folder}: its run.json is damaged; train again") from error
        return facts

    def update(self, **facts: Any) -> None:
        """Write `facts` into run.json."""
        write_json(self.folder / "run.json", {**self.info, **facts})

    def write_history(self, records: Iterable[dict[str, Any]]) -> None:
        """Write history.csv, a row for each epoch.

        Raises:
            RunError: the folder was removed or moved; writing would make a new one, half empty.
        """
        if not (self.folder / "run.json").exists():
            advice = "if it was moved, go on with --resume where it is now"
            raise RunError(f"{self.folder}: was taken away during the training; {advice}")
        write_csv(self.folder / "history.csv", HISTORY, records)

    def history(self) -> list[dict[str, str]]:
        """Return the rows of history.csv, one for each epoch.

        Raises:
            RunError: the file is missing, empty or damaged.
        """
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
    """Return the run in an existing folder.

    Raises:
        RunError: there is no run, or its files are damaged.
    """
    run = Run(folder)
    if is_exported(folder):
        raise RunError(
            f"{folder}: an exported model, which knows neither its images nor their split; "
            "give the run that it came from"
        )
    if (folder / PLAN).is_file():
        raise RunError(
            f"{folder}: a cross-validation, whose report is {folder / 'evaluation'}; "
            f"its runs are {folder / 'repeat-*' / 'fold-*'}"
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
    """Return the runs directly below `root`, and that of `alld demo`, oldest first."""
    files = [*root.glob("*/run.json"), *root.glob("demo/run/run.json")]
    return sorted((Run(file.parent) for file in files), key=_age)


def newest_run(usage: str, root: Path = RUNS) -> Run:
    """Return the newest finished run on real data.

    Args:
        usage: the command that names a run, for the error: `alld evaluate RUN`.

    Raises:
        RunError: there is none.
    """
    finished = [run for run in list_runs(root) if run.state == "finished"]
    real = [run for run in finished if not run.info["data"]["synthetic"]]
    if not real:
        named = f"the SYNTHETIC {finished[-1].folder}" if finished else "one"
        usage = usage.replace("RUN", str(finished[-1].folder)) if finished else usage
        raise RunError(
            f"no finished run on real data in {root}/; train one with `alld train --data FOLDER`, "
            f"or name {named}: `{usage}`"
        )
    return real[-1]


def read_manifest(
    run: Run,
    data: Path | None = None,
    progress: Progress | None = None,
    *,
    positive: Sequence[str] = (),
    healthy: Sequence[str] = (),
    both_classes: bool = True,
) -> Manifest:
    """Return the images of a run, or those in `data`.

    Args:
        positive, healthy: names of the classes in `data`, in place of those in the run's settings.
        both_classes: as in `load_manifest`.

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
    own = config.model_copy(update={"root": root, **({"more": []} if data else {})})
    if positive or healthy:
        own = own.model_copy(update={"positive": list(positive), "healthy": list(healthy)})
    elif data is not None and (config.positive or config.healthy):
        with suppress(DataError, ImageError):  # the run's own images, moved
            moved = load_manifest(own, progress)
            if moved.fingerprint == run.info["data"]["fingerprint"]:
                return moved
        return load_manifest(own, progress, both_classes=both_classes, inherited=True)
    return load_manifest(own, progress, both_classes=both_classes)


def read_records(run: Run) -> tuple[ImageRecord, ...]:
    """Return names, labels and hashes of a run's images, as its folder records them.

    Raises:
        RunError: an older run did not record them, or the record was altered.
    """
    path, facts = run.folder / IMAGES, run.info["data"]
    try:
        images = read_csv(path)
        rows = read_csv(run.folder / "split.csv")
        records = tuple(
            ImageRecord(
                row["path"],
                LABEL_NAMES.index(row["label"]),
                image["sha256"],
                pixels_sha256=image.get("pixels_sha256") or None,  # older runs have none
            )
            for row, image in zip(rows, images, strict=True)
        )
    except (OSError, ValueError, KeyError) as error:
        raise RunError(f"{path}: cannot be read ({error!r}); train again to have it") from error
    if Manifest(Path(), "table", records, synthetic=False).fingerprint != facts["fingerprint"]:
        raise RunError(f"{path}: altered since the run began")
    return records


def read_split(run: Run, manifest: Manifest) -> Split:
    """Return the split of a run, checked against its hash and against the images in `manifest`.

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
    """Return `: 1 changed (first: a.tif)`, or nothing for an older run without the record."""
    try:
        then, now = (
            {record.path: f"{record.sha256} {record.label}" for record in records}
            for records in (read_records(run), manifest)
        )
    except RunError:
        return ""
    return f": {differing(then, now)}"


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
