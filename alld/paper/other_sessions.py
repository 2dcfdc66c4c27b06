"""Tell how the systems of a table do in other sessions: a column, and a table of directions."""

from collections.abc import Sequence
from dataclasses import asdict

from alld.data.directions import count_directions
from alld.data.manifest import Manifest
from alld.evaluation.outside import Outside
from alld.paper.systems import System
from alld.report.text import markdown_table, percent
from alld.stats.metrics import Metric


def outside_cell(system: System) -> str:
    """Return the mean ROC AUC in other sessions with its interval, and the lowest direction."""
    if system.outside is None:
        return ""
    area = system.outside.mean["roc_auc"]
    if area.value is None or area.ci_low is None:
        return f"undefined: {area.reason}"
    ends = f"{area.ci_low:.3f} to {area.ci_high:.3f}"
    return f"{area.value:.3f} ({ends}; lowest {_lowest(system.outside):.3f})"


def outside_row(system: System) -> dict[str, object]:
    """Return the numbers in other sessions for the CSV file; none where none was tested."""
    found = system.outside
    area, over = (found.mean["roc_auc"], found.over_domains["roc_auc"]) if found else (None, None)
    return {
        "outside_directions": found and len(found.directions),
        "outside_trainings": found and sum(one.trainings for one in found.directions),
        "outside_roc_auc": area and area.value,
        "outside_roc_auc_low": area and area.ci_low,
        "outside_roc_auc_high": area and area.ci_high,
        "outside_roc_auc_low_over_directions": over and over.ci_low,
        "outside_roc_auc_high_over_directions": over and over.ci_high,
        "outside_roc_auc_lowest": found and _lowest(found),
        "outside_sensitivity": found and found.mean["sensitivity"].value,
        "outside_specificity": found and found.mean["specificity"].value,
        "outside_matched_sensitivity": found and found.mean["matched_sensitivity"].value,
    }


def outside_facts(systems: Sequence[System]) -> dict[str, object]:
    """Return every direction of every system for the JSON file."""
    return {
        "outside": {system.name: asdict(system.outside) for system in systems if system.outside}
    }


def outside_notes(systems: Sequence[System], manifest: Manifest) -> list[str]:
    """Return what the column of other sessions means, or why it is empty."""
    if not any(system.outside for system in systems):
        _, reason = count_directions(manifest)
        return [f"No other session was tested: {reason or 'no such results were given'}."]
    return [
        "Another session: images of sessions or other domains of which none trained the model, in "
        "both classes; mean ROC AUC of all directions and seeds, interval by a bootstrap over "
        "groups, and the lowest direction. Accuracy is not shown: a threshold that was learnt "
        "inside is part of what fails outside. Inside: validation images of the same trainings.",
    ]


def direction_lines(systems: Sequence[System]) -> list[str]:
    """Return the lines of a table with a column for each direction; none where none was tested."""
    tested = [system for system in systems if system.outside]
    directions = {one.tested: one for s in tested if s.outside for one in s.outside.directions}
    if not directions:
        return []
    numbers = {name: str(number) for number, name in enumerate(directions, start=1)}
    headings = ("System", "Seeds", *numbers.values(), "Mean over images", "over directions",
                "Inside: ROC AUC, sensitivity, specificity")  # fmt: skip
    rows = [_direction_row(s.name, s.outside, list(numbers)) for s in tested if s.outside]
    legend = [
        f"- {numbers[name]}: {one.classes['blast']} blasts and {one.classes['healthy']} healthy "
        f"cells of {name}"
        for name, one in directions.items()
    ]
    return [
        "", "Other sessions, direction by direction: ROC AUC (95 %), sensitivity, specificity.", "",
        *markdown_table(headings, rows), "", *legend,
    ]  # fmt: skip


def _direction_row(name: str, outside: Outside, names: Sequence[str]) -> tuple[str, ...]:
    of_name = {one.tested: one for one in outside.directions}
    seeds = {one.trainings for one in outside.directions}
    cells = [_three(of_name[own].metrics) if own in of_name else "" for own in names]
    area = _area(outside.over_domains["roc_auc"])
    counted = " or ".join(map(str, sorted(seeds)))
    return name, counted, *cells, _three(outside.mean), area, _three(outside.inside)


def _three(metrics: dict[str, Metric]) -> str:
    if not metrics:
        return ""
    rates = (metrics[name].value for name in ("sensitivity", "specificity"))
    found = ["undefined" if rate is None else percent(rate) for rate in rates]
    return f"{_area(metrics['roc_auc'])}, {', '.join(found)}"


def _area(area: Metric) -> str:
    if area.value is None:
        return f"undefined ({area.reason})"
    ends = "" if area.ci_low is None else f" ({area.ci_low:.3f} to {area.ci_high:.3f})"
    return f"{area.value:.3f}{ends}"


def _lowest(outside: Outside) -> float:
    areas = [direction.metrics["roc_auc"].value for direction in outside.directions]
    return min((area for area in areas if area is not None), default=float("nan"))
