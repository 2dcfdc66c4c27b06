"""Read a CSV table of labelled images: `path,label`, and `patient` or `group` where known."""

from dataclasses import replace
from pathlib import Path

from alld.data.manifest import BLAST, HEALTHY, Manifest, Progress
from alld.data.sources.c_nmc import is_table, read_c_nmc
from alld.data.sources.class_folders import CLASS_NAMES, counted_as_healthy
from alld.data.sources.labelled import Labelled, Problems, build_manifest, noted
from alld.errors import DataError
from alld.runtime.files import cell
from alld.runtime.reading import csv_columns, read_csv

_LABELS = {**CLASS_NAMES, "1": BLAST, "0": HEALTHY}
_KNOWN = {"path", "label", "patient", "group"}


def read_table(
    table: Path, positive: str | None, progress: Progress | None, problems: Problems
) -> Manifest:
    """Return the manifest of a table, whose paths are relative to its folder.

    Raises:
        DataError: a missing column, a row without a path, a label that is neither class.
    """
    try:
        columns, rows = csv_columns(table), read_csv(table)
    except (OSError, ValueError) as error:
        raise DataError(f"{table}: cannot be read as a UTF-8 CSV table: {error}") from error
    if is_table(columns):
        return read_c_nmc(table.parent, (), [table], progress, problems)
    if not {"path", "label"} <= set(columns):
        raise DataError(f"{table}: needs the columns path,label; found {','.join(columns)}")
    labelled: list[Labelled] = []
    for number, row in enumerate(rows, start=2):  # line 1 holds the column names
        place, path = f"{table}, line {number}", row["path"].strip()
        with noted(path or place, problems):
            if not path:
                raise DataError(f"{place}: no path; name an image file")
            label = _label(row["label"], positive, place)
            group, patient = (
                cell(row.get(name, "").strip() or None) for name in ("group", "patient")
            )
            labelled.append(Labelled(table.parent / path, label, group, patient))
    manifest = build_manifest(table.parent, "table", labelled, progress, problems)
    warnings = []
    unused = sorted(set(columns) - _KNOWN)
    if unused:
        warnings.append(f"{table}: columns that mean nothing to ALLD: {', '.join(unused)}")
    if positive is not None:
        healthy = {row["label"].strip() for row in rows} - {positive}
        warnings.append(counted_as_healthy(positive, healthy))
    return replace(manifest, warnings=tuple(warnings))


def _label(text: str, positive: str | None, place: str) -> int:
    label = text.strip().lower()
    if positive is not None and label:
        return BLAST if label == positive.lower() else HEALTHY
    if label not in _LABELS:
        raise DataError(
            f"{place}: label {text!r} is neither blast nor healthy "
            f"(known: {', '.join(sorted(_LABELS))}); --positive NAME says which one is blast"
        )
    return _LABELS[label]
