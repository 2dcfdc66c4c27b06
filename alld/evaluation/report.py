"""The report of a result: one page that opens offline, and a model card with the same facts.

Both are functions of what lies in the result's folder: the content of metrics.json (the facts),
the rows of predictions.csv and those of history.csv. So a cross-validation can have one too.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from alld import NOTICE
from alld.evaluation.charts import (
    SHEET,
    History,
    loss_chart,
    pr_chart,
    reliability_chart,
    roc_chart,
)
from alld.evaluation.facts import as_html, as_markdown, look_up, marked
from alld.evaluation.guidelines import SOURCES, themes
from alld.evaluation.result import title_of
from alld.evaluation.thumbnails import mistakes
from alld.evaluation.verdict import headline, limits, source, supports
from alld.files import write_text
from alld.inference.predictor import Prediction

PAGE, CARD = "report.html", "model_card.md"
MOST_MISTAKES = 24  # shown; each costs 50 kB
PROPORTIONS = ("accuracy", "sensitivity", "specificity")


def write_report(
    folder: Path,
    facts: Mapping[str, Any],
    predictions: Sequence[Prediction],
    labels: Sequence[int],
    histories: Sequence[History],
) -> None:
    """Write `report.html` and `model_card.md` into `folder`.

    Args:
        facts: the content of metrics.json; `Evaluation.as_dict` shows its keys.
        predictions: of the test images, none without a probability.
        labels: as many, 0 healthy or 1 blast.
        histories: the rows of history.csv of each training behind the facts.
    """
    write_text(folder / PAGE, render_page(facts, predictions, labels, histories))
    write_text(folder / CARD, render_card(facts))


def render_page(
    facts: Mapping[str, Any],
    predictions: Sequence[Prediction],
    labels: Sequence[int],
    histories: Sequence[History],
) -> str:
    """The page as HTML; every file name and every text of the facts is escaped."""
    shown = mistakes(predictions, labels, MOST_MISTAKES)
    whole = {
        **facts,
        "predictions": [prediction.as_row() for prediction in predictions],
        "shown": len(shown),
    }
    y_prob = [float(prediction.probability or 0) for prediction in predictions]
    counts = facts["confusion"]
    return _render(
        "report.html",
        facts=whole,
        look_up=partial(look_up, whole),
        say=partial(as_html, facts=whole),
        number=partial(marked, whole),
        notice=NOTICE,
        titles={name: title_of(name) for name in facts["metrics"]},
        proportions=PROPORTIONS,
        source=source(facts),
        headline=headline(facts),
        supports=supports(facts),
        limits=limits(facts),
        grouped=facts["data"]["test_groups"] < facts["metrics"]["accuracy"]["n"],
        sheet=SHEET,
        charts=(
            roc_chart(labels, y_prob, counts),
            pr_chart(labels, y_prob, counts),
            reliability_chart(facts["reliability"]),
            loss_chart(histories),
        ),
        mistakes=shown,
        themes=themes(facts),
        sources=SOURCES,
        **_provenance(facts["provenance"]),
    )


def render_card(facts: Mapping[str, Any]) -> str:
    """The model card as Markdown."""
    return _render(
        "model_card.md",
        facts=facts,
        say=partial(as_markdown, facts=facts),
        notice=NOTICE,
        titles={name: title_of(name) for name in facts["metrics"]},
        source=source(facts),
        headline=headline(facts),
        supports=supports(facts),
        limits=limits(facts),
        themes=themes(facts),
        sources=SOURCES,
    )


def _render(template: str, **context: Any) -> str:
    environment = Environment(
        loader=PackageLoader("alld.evaluation"),
        autoescape=template.endswith(".html"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(template).render(context)


def _provenance(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The settings, and what was recorded of each stage (training, evaluation), as rows."""
    stages = {
        stage: {leaf: f"{stage}.{leaf}" for leaf in _leaves(recorded)}
        for stage, recorded in facts.items()
        if stage != "config"
    }
    rows = dict.fromkeys(leaf for leaves in stages.values() for leaf in leaves)
    # Versions come last, whatever order the stages were recorded in.
    recorded = sorted(rows, key=lambda leaf: leaf.startswith("versions."))
    return {"settings": _leaves(facts["config"]), "stages": stages, "recorded": recorded}


def _leaves(facts: Mapping[str, Any], above: str = "") -> list[str]:
    """The dotted paths of all values in nested facts, in their order."""
    leaves: list[str] = []
    for key, value in facts.items():
        inner = isinstance(value, Mapping)
        leaves += _leaves(value, f"{above}{key}.") if inner else [f"{above}{key}"]
    return leaves
