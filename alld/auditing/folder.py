"""Write an audit to a folder: audit.json, images.csv, groups.csv and the contact sheets."""

import csv
import io
import os
import re
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from alld import NOTICE
from alld.auditing.contact_sheet import draw_sheets
from alld.auditing.examine import Audit
from alld.auditing.findings import findings
from alld.data.domains import COLUMNS
from alld.data.groups.in_fields import FieldPlace
from alld.data.groups.places import TURNS, Relation
from alld.data.groups.recapture import Comparison
from alld.data.manifest import LABEL_NAMES, Manifest
from alld.errors import DataError
from alld.runtime.files import (
    check_writable,
    new_folder,
    plain_path,
    sha256_hex,
    write_csv,
    write_json,
    write_text,
)
from alld.runtime.reading import read_json

JSON, GROUPS, IMAGES = "audit.json", "groups.csv", "images.csv"
_OURS = re.compile(r"audit\.json|images\.csv|groups\.csv|groups.*\.png", re.DOTALL)


def check_place(folder: Path, manifest: Manifest | None = None) -> None:
    """Refuse a folder that an audit must not replace.

    Raises:
        DataError: it holds files that no audit wrote, or a table that was edited, or it lies
            inside the set, where the next command would take its pictures for cells.
    """
    # A table names its images, and several sets lie apart: other pictures there do no harm.
    whole = manifest is not None and manifest.kind not in ("table", "several sets")
    root = manifest.root if manifest is not None and whole else None
    if root is not None and folder.resolve().is_relative_to(root.resolve()):
        raise DataError(f"--out {folder}: lies inside the set; name a folder outside it")
    check_writable(folder.parent)
    if not folder.exists():
        return
    if not folder.is_dir():
        raise DataError(f"--out {folder}: is a file; name a folder")
    names = sorted(entry.name for entry in folder.iterdir())
    strange = [name for name in names if not _OURS.fullmatch(name)]
    if strange:
        raise DataError(f"--out {folder}: holds {strange[0]}, which no audit made; name another")
    for table, key in ((GROUPS, "groups_sha256"), (IMAGES, "images_sha256")):
        if (folder / table).exists() and _edited(folder, table, key):
            raise DataError(
                f"--out {folder}: {table} there was edited, and would be lost; name another folder"
            )


def write_audit(folder: Path, audit: Audit) -> None:
    """Write `audit.json`, both tables and `groups.png`; raises as `check_place` does."""
    check_place(folder, audit.manifest)
    with new_folder(folder) as place:
        table = groups_table(audit)
        write_text(place / GROUPS, table)
        write_images(place / IMAGES, audit, folder)
        sheets = draw_sheets(place, audit)
        facts = as_dict(audit)
        facts["files"] = {
            "groups": GROUPS,
            "groups_sha256": sha256_hex(table.encode()),
            "images": IMAGES,
            "images_sha256": sha256_hex((place / IMAGES).read_bytes()),
            "sheets": [sheet.name for sheet in sheets],
        }
        write_json(place / JSON, facts)


def groups_table(audit: Audit) -> str:
    """Return `path,group,relation` as CSV, with a row for every image that shares a group.

    `relation` names what joins the image to others, `given` if only a file or the set does.
    """
    kinds: dict[int, Counter[str]] = {}
    for r in audit.groups.relations:
        for index in (r.first, r.second):
            kinds.setdefault(index, Counter())[audit.name_of(r)] += 1
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "group", "relation"])
    for name, members in audit.members.items():
        for index in members:
            relation = "; ".join(sorted(kinds.get(index, Counter({"given": 1}))))
            writer.writerow([audit.manifest.records[index].path, name, relation])
    return text.getvalue()


def write_images(file: Path, audit: Audit, home: Path) -> None:
    """Write a row for every image, which `alld train --data` reads: what is known of its origin.

    Columns without a value for any image are left out.

    Args:
        home: the folder that paths are relative to: where the table will lie.
    """
    manifest, rows = audit.manifest, []
    noun = audit.domains.noun if audit.domains else ""
    domain = noun if noun in COLUMNS else "domain"
    places = audit.in_fields.places if audit.in_fields else (None,) * len(manifest)
    for index, (record, place) in enumerate(zip(manifest, places, strict=True)):
        path = os.path.relpath(manifest.file(index).absolute(), home.absolute())
        rows.append(
            {
                "path": plain_path(path.replace(os.sep, "/")),
                "label": LABEL_NAMES[record.label],
                "patient": record.patient,
                "group": record.group,
                "split": record.part,
                domain: record.domain,
                "field": record.field,
                "white_cell": "no" if index in audit.without_nucleus else None,
                **(_place(place) if place else {}),
            }
        )
    columns = dict.fromkeys(
        name for row in rows for name, value in row.items() if value is not None
    )
    write_csv(file, list(columns), ({name: row.get(name) for name in columns} for row in rows))


def _place(place: FieldPlace) -> dict[str, Any]:
    """The columns about the place of an image in its field."""
    sides = {"x": place.x, "y": place.y, "width": place.width, "height": place.height}
    similarity = round(place.similarity, 4)
    equal = "yes" if place.exact else "no"
    return {**sides, "orientation": TURNS[place.turn], "equal": equal, "similarity": similarity}


def as_dict(audit: Audit) -> dict[str, Any]:
    """Return all that was found, ready for JSON."""
    manifest = audit.manifest
    weakest = min(audit.search.recaptured, key=lambda c: c.similarity, default=None)
    return {
        "data": {
            "root": str(manifest.root),
            "kind": manifest.kind,
            "synthetic": manifest.synthetic,
            "fingerprint": manifest.fingerprint,
            "images": len(manifest),
            "classes": {
                name: manifest.labels.count(label) for label, name in enumerate(LABEL_NAMES)
            },
        },
        "findings": [asdict(finding) for finding in findings(audit)],
        "background": {
            "roc_auc": audit.background.as_dict(),
            "images_without_background": audit.without_background,
        },
        "file_sizes": {"roc_auc": audit.file_facts.as_dict()},
        "domains": {
            **(audit.domains.as_dict() if audit.domains else {}),
            "roc_auc": audit.domain_alone.as_dict(),
            "accuracy": audit.domain_accuracy.as_dict(),
            "within_a_class": [probe.as_dict() for probe in audit.domain_probes],
        },
        "fields": _fields(audit),
        "groups": {
            "source": audit.groups.source,
            "of": {
                name: [manifest.records[index].path for index in members]
                for name, members in audit.members.items()
            },
            "relations": [_relation(audit, r) for r in audit.groups.relations],
            "weakest_accepted": None if weakest is None else _comparison(manifest, weakest),
            "strongest_rejected": [_comparison(manifest, c) for c in audit.search.rejected],
        },
        "images": [
            {"path": record.path, "label": LABEL_NAMES[record.label], **asdict(facts)}
            for record, facts in zip(manifest, audit.facts, strict=True)
        ],
        "unusable": [asdict(problem) for problem in audit.problems],
        "notice": NOTICE,
    }


def _fields(audit: Audit) -> dict[str, Any] | None:
    found = audit.in_fields
    if found is None:
        return None
    return {
        "folder": str(found.folder),
        "number": len(found.names),
        "found": len(found.found),
        "equal": sum(place.exact for place in found.found),
        "places": [
            {"path": record.path, "field": found.names[place.field], **_place(place)}
            for record, place in zip(audit.manifest, found.places, strict=True)
            if place
        ],
        "copies": [{"field": name, "same_as": same} for name, same in found.copies],
        "unusable": [asdict(problem) for problem in found.problems],
    }


def _relation(audit: Audit, r: Relation) -> dict[str, Any]:
    records = audit.manifest.records
    return {
        "first": records[r.first].path,
        "second": records[r.second].path,
        "relation": r.kind,
        "name": audit.name_of(r),
        "score": r.score,
        "dy": r.dy,
        "dx": r.dx,
        "turn": TURNS[r.turn],
    }


def _comparison(manifest: Manifest, c: Comparison) -> dict[str, Any]:
    first, second = (manifest.records[index].path for index in c.pair)
    return {"first": first, "second": second, "similarity": c.similarity}


def _edited(folder: Path, table: str, key: str) -> bool:
    try:
        known = read_json(folder / JSON)["files"][key]
    except (OSError, ValueError, KeyError, TypeError):
        return True
    return bool(known != sha256_hex((folder / table).read_bytes()))
