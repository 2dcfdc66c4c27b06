"""Open matplotlib figures in one style, and turn them into SVG for the page."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

# Okabe and Ito's palette: colour-blind readers can tell them apart, and so can prints in grey.
BLUE, ORANGE, GREY, INK, RULE, PAPER = (
    "#0072b2", "#d55e00", "#8a8f98", "#20242b", "#dcdfe4", "#ffffff",
)  # fmt: skip
# In the page the colours are those of its style sheet, which has a dark mode.
_CSS = {BLUE: "blue", ORANGE: "orange", GREY: "soft", INK: "ink", RULE: "rule", PAPER: "paper"}
_STYLE: dict[Any, Any] = {
    "font.size": 11,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "svg.fonttype": "none",
}
INCHES = (5.0, 4.4)
_DECIMALS = re.compile(r"(\d+\.\d\d)\d+")


@contextmanager
def open_figure(
    inches: tuple[float, float] = INCHES, salt: str | None = None
) -> Iterator[tuple[Figure, Axes]]:
    """Open a figure without pyplot, which would keep a global state.

    With a salt, the ids of equal markers are the same in every SVG of that salt, and no other.
    """
    with matplotlib.rc_context(_STYLE | {"svg.hashsalt": salt}):
        figure = Figure(figsize=inches, dpi=160)
        FigureCanvasAgg(figure)
        yield figure, figure.add_subplot()


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as `path`.png and, for print, as `path`.pdf; without versions and times."""
    figure.savefig(path.with_suffix(".png"), metadata={"Software": None})
    figure.set_layout_engine("none")  # keeps the layout that was just computed
    nothing = dict.fromkeys(("Creator", "Producer", "CreationDate"))
    figure.savefig(path.with_suffix(".pdf"), metadata=nothing)


def svg_of(figure: Figure, axes: Axes) -> Markup:
    """Return the inside of the SVG of a figure with one chart.

    It is reduced to what the page needs: no prolog, fonts, comments, clip paths or unused ids.
    """
    figure.patch.set_visible(False)
    axes.patch.set_visible(False)
    figure.subplots_adjust(left=0.14, right=0.96, bottom=0.22, top=0.97)
    for line in (*axes.lines, *axes.get_xgridlines(), *axes.get_ygridlines()):
        line.set_clip_on(False)
    file = StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(file, format="svg", metadata=nothing)
    svg = file.getvalue()
    inside = svg[svg.index('<g id="figure_1">') : svg.rindex("</svg>")]
    inside = re.sub(r"<!--.*?-->\s*", "", inside, flags=re.DOTALL)
    inside = re.sub(r' id="(?!m)\w+"| transform="rotate\(-0 [^"]*"', "", inside)
    inside = re.sub(r"font: ([\d.]+px) [^;\"]+", r"font-size: \1", inside)
    # In attributes alone: the numbers beside an axis are text.
    inside = re.sub(r'"[^"]*"', lambda value: _DECIMALS.sub(r"\1", value[0]), inside)
    for colour, variable in _CSS.items():
        inside = inside.replace(colour, f"var(--{variable})")
    return Markup(re.sub(r"\s*\n\s*", " ", inside))
