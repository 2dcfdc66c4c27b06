"""Screen fields: look at each of them, count the cells of each sample, and write it all down."""

import base64
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from alld import NOTICE, __version__
from alld.errors import ConfigError
from alld.inference.archives.archive import Engine, Progress, finished_parts
from alld.inference.archives.engines import predict_here
from alld.inference.heat_pictures import safe_name
from alld.inference.inputs import Inputs
from alld.inference.predictor import Predictor
from alld.runtime.files import new_folder, write_bytes, write_json
from alld.screen.exchange import as_coco, as_geojson
from alld.screen.gallery import choose
from alld.screen.look import ScreenJob, side_for
from alld.screen.records import Field, parse_line
from alld.screen.report import write_report
from alld.screen.sources import Fields
from alld.screen.summary import ErrorRates, summarise
from alld.screen.tables import cell_rows, field_row, write_cells, write_fields, write_samples

RESULT = "screen.json"
_SHARD = 4  # fields that a process does before it writes them down


@dataclass(frozen=True)
class Screening:
    """A finished screening: the content of its `screen.json`, and the folder with all of it."""

    folder: Path
    facts: dict[str, Any]


def screen(
    fields: Fields,
    out: Path,
    job: ScreenJob,
    predictor: Predictor,
    rates: ErrorRates | None,
    *,
    engine: Engine,
    progress: Progress,
) -> Screening:
    """Screen all fields that are not done yet, and write the folder `out` in one step.

    Args:
        engine, progress: as of `alld.inference.archives.archive.predict_archive`, which also says
            how it is resumed.

    Raises:
        ConfigError: there is something at `out`.
        RunError: raised by `predict_archive`.
    """
    check_out(out)
    inputs = Inputs(fields.files)
    with finished_parts(inputs, out, job, engine, progress, _SHARD) as parts:

        def lines() -> Iterator[tuple[Field, dict[str, Any]]]:
            return (parse_line(line) for body, _ in parts() for line in body.splitlines())

        with new_folder(out) as beside:
            read, overlays = [], []
            for number, (field, pictures) in enumerate(lines(), start=1):
                read.append(field)
                overlays.append(_write_pictures(beside, number, field, pictures))
            facts = _facts(read, fields.samples, job, predictor, rates)
            rows = [field_row(*row) for row in zip(read, fields.samples, overlays, strict=True)]
            _write_tables(beside, read, fields.samples, facts, rows)
            chosen = choose(read, fields.samples)
            thumbs = {
                (number, place): str(pictures["cells"][str(place)])
                for number, (_, pictures) in enumerate(lines())
                for place in chosen.wanted.get(number, ())
            }
            facts = write_report(beside, facts, read, chosen, thumbs)
            write_json(beside / RESULT, {**facts, "fields": rows})
        return Screening(out, {**facts, "fields": rows})


def screen_here(
    fields: Fields,
    out: Path,
    predictor: Predictor,
    rates: ErrorRates | None,
    step: Callable[[str, int, int], None],
) -> Screening:
    """Screen fields in this process; `screen` gives the errors and says what is written."""
    job = ScreenJob.of(predictor, predictor.path, "jsonl", side=side_for(predictor))

    def progress(now: int, before: int, total: int) -> None:
        step("screening", now + before, total)

    return screen(fields, out, job, predictor, rates, engine=predict_here, progress=progress)


def check_out(out: Path) -> None:
    """Raise ConfigError where something is at `out`: a screening replaces nothing."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"--out {out}: is not an empty folder; name a new one")


def _write_pictures(
    folder: Path, number: int, field: Field, pictures: dict[str, Any]
) -> str | None:
    """Write the overlay and the GeoJSON of a field, and return the overlay's name."""
    if field.error is not None:
        return None
    name = f"{number:04d}-{safe_name(Path(field.path).stem)}"
    overlay = f"overlays/{name}-cells.jpg"
    write_bytes(folder / overlay, base64.b64decode(pictures["overlay"]))
    write_json(folder / "geojson" / f"{name}.geojson", as_geojson(field))
    return overlay


def _write_tables(
    folder: Path,
    fields: Sequence[Field],
    samples: Sequence[str],
    facts: dict[str, Any],
    rows: list[dict[str, Any]],
) -> None:
    model = facts["model"]
    pairs = zip(fields, samples, strict=True)
    known = model["identity"], model["threshold"]
    write_cells(folder, [row for pair in pairs for row in cell_rows(*pair, *known)])
    write_fields(folder, rows)
    write_samples(folder, facts["samples"])
    write_json(folder / "coco.json", as_coco(fields, synthetic=facts["synthetic"]))


def _facts(
    fields: Sequence[Field],
    samples: Sequence[str],
    job: ScreenJob,
    predictor: Predictor,
    rates: ErrorRates | None,
) -> dict[str, Any]:
    trained = predictor.info.data.synthetic
    drawn = any(field.synthetic for field in fields)
    return {
        "notice": NOTICE,
        "synthetic": drawn or trained,
        "drawn_fields": drawn,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "version": __version__,
        "unit": "white cell",
        "positive_class": "blast",
        "model": {
            "path": str(predictor.path),
            "identity": predictor.identity,
            "arch": predictor.info.arch,
            "members": predictor.members,
            "threshold": predictor.info.threshold,
            "trained_on": predictor.info.data.name,
            "synthetic": trained,
            "tta": predictor.tta,
            "abstains": predictor.abstain,
        },
        "crop": {"side": job.side, "trained": predictor.info.data.crop},
        "error_rates": None if rates is None else rates.as_dict(),
        "samples": summarise(fields, samples, rates),
    }
