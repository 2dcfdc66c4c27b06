"""Read a CSV table of images: `path,label`; `patient`, `group`, `field`, `split` or a domain."""

from dataclasses import replace
from pathlib import Path

from alld.data.domains import COLUMNS
from alld.data.manifest import BLAST, HEALTHY, Manifest, Progress
from alld.data.sources.c_nmc import is_table, read_c_nmc
from alld.data.sources.class_names import ClassNames, unknown_class
from alld.data.sources.labelled import Labelled, Problems, build_manifest, noted
from alld.data.sources.own_split import part_named
from alld.errors import DataError
from alld.runtime.files import cell
from alld.runtime.reading import csv_columns, read_rows

_NUMBERS = {"1": BLAST, "0": HEALTHY}
_KNOWN = {"path", "label", "patient", "group", "field", "split"}
# What an audit tells of the place of a crop and of its cell; nothing follows from it here.
_TOLD = {"x", "y", "width", "height", "orientation", "equal", "similarity", "white_cell"}


def read_table(
    table: Path, names: ClassNames, progress: Progress | None, problems: Problems
) -> Manifest:
    """Return the manifest of a table, whose paths are relative to its folder.

    Raises:
        DataError: a missing column, a row without a path, a label that is neither class, or no
            label of a given name.
    """
    try:
        columns, rows = csv_columns(table), read_rows(table)
    except (OSError, ValueError) as error:
        raise DataError(f"{table}: cannot be read as a UTF-8 CSV table: {error}") from error
    if is_table(columns):
        return read_c_nmc(table.parent, (), [table], progress, problems)
    if not {"path", "label"} <= set(columns):
        raise DataError(f"{table}: needs the columns path,label; found {','.join(columns)}")
    odd = sorted(
        {text for row in rows if (text := row.get("split", "").strip()) and not part_named(text)}
    )
    names = names.of_set({row["label"] for row in rows}, table)
    domain = next((name for name in COLUMNS if name in columns), "")
    labelled: list[Labelled] = []
    for row in rows:
        place, path = f"{table}, line {row.line}", row["path"].strip()
        with noted(path or place, problems):
            if not path:
                raise DataError(f"{place}: no path; name an image file")
            label = _label(row["label"], names, place)
            group, patient, field = (
                cell(row.get(name, "").strip() or None) for name in ("group", "patient", "field")
            )
            part = None if odd else part_named(row.get("split", ""))
            own = cell(" ".join(row.get(domain, "").split()) or None)
            places = (group, patient, part, own, field)
            labelled.append(Labelled(table.parent / path, label, *places))
    manifest = build_manifest(table.parent, "table", labelled, progress, problems)
    warnings = []
    unused = sorted(set(columns) - _KNOWN - _TOLD - {domain})
    if unused:
        noun = "column" if len(unused) == 1 else "columns"
        warnings.append(f"{table}: ignored {noun}: {', '.join(unused)}")
    if odd:
        warnings.append(f"{table}: ignored column: split ({odd[0]!r} is not train, valid or test)")
    labels = {row["label"].strip() for row in rows}
    told = ((text, own) for text in labels if (own := _class_of(text, names)) is not None)
    warnings += names.warnings(told)
    named = f"column {domain}" if any(record.domain for record in manifest) else ""
    return replace(manifest, warnings=tuple(warnings), domains_source=named)


def _label(text: str, names: ClassNames, place: str) -> int:
    label = _class_of(text.strip(), names)
    if label is None:
        raise unknown_class(place, f"label {text!r} is neither blast nor healthy", names)
    return label


def _class_of(text: str, names: ClassNames) -> int | None:
    """The class of a label; numbers count where no names were given."""
    if not text:
        return None
    found = names.label_of([text])
    return _NUMBERS.get(text) if found is None else found
