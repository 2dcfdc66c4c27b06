"""Write the tables of a screening: a row for each cell, each field and each sample."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from alld import NOTICE
from alld.errors import ConfigError
from alld.inference.rows import pyarrow
from alld.runtime.files import replacing, write_csv
from alld.screen.records import COUNTED, Field

# x and y are the centre, in pixels of the field, as width and height are.
CELLS = (
    "field", "sample", "x", "y", "width", "height", "sha256", "pixels_sha256", "verdict",
    "probability", "threshold", "model", "reason", "error", "kind", "at_border",
)  # fmt: skip
_NUMBERS = ("x", "y", "width", "height", "probability", "threshold")
FIELDS = (
    "field", "sample", "sha256", "width", "height", "pixels_per_um", "synthetic", *COUNTED,
    "notes", "error", "overlay",
)  # fmt: skip
_SHARE = ("value", "k", "n", "ci_low", "ci_high", "method", "reason")
SAMPLES = (
    "sample", "fields", "failed", *COUNTED,
    *(f"share_{name}" for name in _SHARE),
    *(f"corrected_{name}" for name in _SHARE),
)  # fmt: skip


def cell_rows(field: Field, sample: str, model: str, threshold: float) -> Iterator[dict[str, Any]]:
    """Yield a row for each object of a field; what has no verdict has a reason."""
    shared = {"field": field.path, "sample": sample, "sha256": field.sha256, "error": None}
    for cell in field.cells:
        own = {name: getattr(cell, name) for name in ("x", "y", "width", "height", "kind")}
        yield {
            **shared,
            **own,
            "pixels_sha256": cell.pixels_sha256,
            "verdict": cell.verdict,
            "probability": cell.probability,
            "threshold": threshold,
            "model": model,
            "reason": cell.left_out or cell.reason,
            "at_border": int(cell.at_border),
        }


def field_row(field: Field, sample: str, overlay: str | None) -> dict[str, Any]:
    """Return the row of a field; without counts where it was not read."""
    names = ("sha256", "width", "height", "pixels_per_um", "error")
    counts = dict.fromkeys(COUNTED) if field.error else field.counts()
    return {
        "field": field.path,
        "sample": sample,
        **{name: getattr(field, name) for name in names},
        "synthetic": int(field.synthetic),
        **counts,
        "notes": "; ".join(field.notes),
        "overlay": overlay,
    }


def sample_row(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row of a sample, whose shares are columns such as `share_ci_low`."""
    flat = {name: value for name, value in summary.items() if name in SAMPLES}
    for share in ("share", "corrected"):
        entry = summary[share] or {}
        flat |= {f"{share}_{name}": entry.get(name) for name in _SHARE}
    return flat


def write_cells(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write `cells.csv`, and `cells.parquet` where its library is installed."""
    write_csv(folder / "cells.csv", CELLS, rows)
    try:
        arrow = pyarrow()
    except ConfigError:
        return
    from pyarrow.parquet import write_table

    kinds = {name: arrow.float64() if name in _NUMBERS else arrow.string() for name in CELLS}
    kinds["at_border"] = arrow.int64()
    schema = arrow.schema(list(kinds.items()), metadata={"notice": NOTICE})
    with replacing(folder / "cells.parquet") as beside:
        write_table(arrow.Table.from_pylist([dict(row) for row in rows], schema=schema), beside)


def write_fields(folder: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write `fields.csv`."""
    write_csv(folder / "fields.csv", FIELDS, rows)


def write_samples(folder: Path, summaries: Iterable[Mapping[str, Any]]) -> None:
    """Write `samples.csv`."""
    write_csv(folder / "samples.csv", SAMPLES, map(sample_row, summaries))
