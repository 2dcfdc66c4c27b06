"""Tables of text cells as Markdown and LaTeX, with what a reader must know beside them."""

from collections.abc import Iterable, Sequence


def markdown_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a pipe table."""
    lines = [f"| {' | '.join(headings)} |", "|---" * len(headings) + "|"]
    return [*lines, *(f"| {' | '.join(row)} |" for row in rows)]


def latex_table(
    headings: Sequence[str], rows: Iterable[Sequence[str]], notes: Sequence[str], title: str
) -> str:
    """A booktabs table; notes and title stand around it as comments."""
    lines = [
        *(f"% {note}" for note in notes),
        r"\begin{tabular}{l" + "r" * (len(headings) - 1) + "}",
        r"\toprule",
        _latex_row(headings),
        r"\midrule",
        *map(_latex_row, rows),
        r"\bottomrule",
        r"\end{tabular}",
        f"% {title}",
    ]
    return "\n".join(lines) + "\n"


def percent(value: float) -> str:
    """`95.2` for 0.952."""
    return f"{value * 100:.1f}"


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(map(_escaped, cells)) + r" \\"


def _escaped(text: str) -> str:
    return text.replace("%", r"\%").replace("_", r"\_").replace("&", r"\&")
