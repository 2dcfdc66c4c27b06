"""Write the report of a result: a page that opens offline, and a model card with the same facts."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from alld import NOTICE
from alld.report.charts import drawings
from alld.report.facts import Form, as_html, as_markdown
from alld.report.material import Material
from alld.report.sentences import context, sentences, template
from alld.report.text import PROPORTIONS, TITLES, title_of
from alld.report.thumbnails import thumbnail
from alld.runtime.files import write_text

PAGE, CARD = "report.html", "model_card.md"
MOST_MISTAKES = 24  # shown; each costs 50 kB
SOURCES = (
    "TRIPOD+AI: Collins et al., BMJ 385 (2024) e078378.",
    "CLAIM: Mongan, Moy and Kahn, Radiology: Artificial Intelligence 2 (2020) e200029; update: "
    "Tejani et al., the same journal 6 (2024) e240300.",
)


def write_report(folder: Path, material: Material) -> None:
    """Write `report.html` and `model_card.md` into `folder`."""
    write_text(folder / PAGE, render_page(material))
    write_text(folder / CARD, render_card(material))


def render_page(material: Material) -> str:
    """Return the page as HTML; every file name and every text from the facts is escaped."""
    shown = [thumbnail(one) for one in material.misclassified[:MOST_MISTAKES]]
    facts = {**material.facts, "shown": len(shown)}
    stages = {stage: _leaves(recorded) for stage, recorded in facts["provenance"].items()}
    settings = stages.pop("config")
    recorded = dict.fromkeys(leaf for leaves in stages.values() for leaf in leaves)
    return template("page.html", as_html).render(
        **_common(facts, as_html),
        drawings=drawings(material),
        mistakes=shown,
        more_mistakes=len(shown) < len(material.misclassified),
        explained=[thumbnail(one) for one in material.explained],
        settings=settings,
        stages=stages,
        recorded=sorted(recorded, key=lambda leaf: leaf[0] == "versions"),  # these come last
    )


def render_card(material: Material) -> str:
    """Return the model card as Markdown."""
    return template("card.md", as_markdown).render(**_common(material.facts, as_markdown))


def _common(facts: Mapping[str, Any], form: Form) -> dict[str, Any]:
    supports, limits = (sentences(f"{name}.j2", facts, form) for name in ("supports", "limits"))
    return {
        **context(facts, form),
        "supports": [Markup(sentence) for sentence in supports],
        "limits": [Markup(sentence) for sentence in limits],
        "notice": NOTICE,
        "plain_title": facts["title"],
        "titles": TITLES | {name: title_of(name) for name in facts["metrics"]},
        "proportions": PROPORTIONS,
        "sources": SOURCES,
    }


def _leaves(facts: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return the paths of all values in nested facts, in their order."""
    leaves: list[tuple[str, ...]] = []
    for key, value in facts.items():
        inner = _leaves(value) if isinstance(value, Mapping) else [()]
        leaves += [(key, *path) for path in inner]
    return leaves
