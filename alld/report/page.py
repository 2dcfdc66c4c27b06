"""The report of a result: one page that opens offline, and a model card with the same facts.

Both are functions of its material. The pages of a run and of a cross-validation share their
templates; what differs stands in `templates/run/` and `templates/crossval/`, and in the words.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from alld import NOTICE
from alld.report.charts import (
    SHEET,
    loss_chart,
    pr_chart,
    reliability_chart,
    risk_chart,
    roc_chart,
)
from alld.report.facts import as_html, as_markdown, look_up, marked
from alld.report.guidelines import SOURCES
from alld.report.material import Material
from alld.report.metric_text import PROPORTIONS, TITLES, title_of
from alld.report.patient_words import known, told_by_patient
from alld.report.thumbnails import thumbnails
from alld.report.verdict import source
from alld.report.words import Words
from alld.runtime.files import write_text

PAGE, CARD = "report.html", "model_card.md"
MOST_MISTAKES = 24  # shown; each costs 50 kB


def write_report(folder: Path, material: Material) -> None:
    """Write `report.html` and `model_card.md` into `folder`."""
    write_text(folder / PAGE, render_page(material))
    write_text(folder / CARD, render_card(material))


def render_page(material: Material) -> str:
    """The page as HTML; every file name and every text of the facts is escaped."""
    shown, words = thumbnails(material.misjudged[:MOST_MISTAKES]), material.words
    facts = {**material.facts, "shown": len(shown)}
    return _render(
        f"{material.layout}/{PAGE}",
        facts,
        words,
        look_up=partial(look_up, facts),
        say=partial(as_html, facts=facts),
        number=partial(marked, facts),
        proportions=PROPORTIONS,
        sheet=SHEET,
        charts=(
            roc_chart(material.tests, words.curve, words.point),
            pr_chart(material.tests, words.curve, words.point),
            reliability_chart(facts["reliability"]),
            loss_chart(material.histories),
        ),
        risk=risk_chart(facts["abstention"]["curve"], facts["abstention"]["kept"]["value"]),
        mistakes=shown,
        more_mistakes=len(shown) < len(material.misjudged),
        explained=thumbnails(material.explained),
        **_provenance(facts["provenance"]),
    )


def render_card(material: Material) -> str:
    """The model card as Markdown."""
    facts = material.facts
    say = partial(as_markdown, facts=facts)
    return _render(f"{material.layout}/{CARD}", facts, material.words, say=say)


def _render(template: str, facts: Mapping[str, Any], words: Words, **context: Any) -> str:
    environment = Environment(
        loader=PackageLoader("alld.report"),
        autoescape=template.endswith(".html"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(template).render(
        facts=facts,
        words=words,
        notice=NOTICE,
        style_of=partial(_style_of, facts),
        titles=TITLES | {name: title_of(name) for name in facts["metrics"]},
        by_patient=told_by_patient(facts) if known(facts) else "",
        source=source(facts),
        sources=SOURCES,
        **context,
    )


def _style_of(facts: Mapping[str, Any], field: str) -> str:
    """How to write a metric; the mean of a proportion over repeats has no count to tell it by."""
    counted = look_up(facts, field).get("k") is not None
    return "percent" if counted or field.rpartition(".")[2] in PROPORTIONS else "score"


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
