"""Wrap stored facts so that every number a template shows carries its path and its full value.

In a template `{{ metrics.accuracy.value | percent }}` looks the number up in the content of
`metrics.json` and rounds it. In HTML the result is an element with `data-field` and, where it is
rounded, `data-value`: a test can compare each number on the page with the file.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from markupsafe import Markup

from alld.inference.prediction import shown
from alld.report.text import IN_PERCENT
from alld.runtime.files import one_line

STYLES: dict[str, Callable[[Any], str]] = {
    "": lambda value: value if isinstance(value, str) else json.dumps(value),
    "percent": lambda value: f"{100 * value:.1f} %",
    "points": lambda value: f"{100 * value:.1f}",  # the lower end of `87.0 to 98.9 %`
    "score": lambda value: f"{value:.3f}",
    "probability": shown,  # and thresholds
    "signed": lambda value: f"{value:+.3f}",  # a difference
    "signed_points": lambda value: f"{100 * value:+.1f}",
    "plain": lambda value: f"{value:.4g}",
    "seconds": lambda value: f"{value:.0f} s",
    "short": lambda value: str(value)[:12],  # of a hash
}
_MARKDOWN = re.compile(r"([\\`*\[\]<>|&])")

Form = Callable[[str, str, str | None], str]  # from text, path and full value if rounded


def as_text(text: str, path: str, full: str | None) -> str:
    """Return the text of a fact as it is."""
    return text


def as_markdown(text: str, path: str, full: str | None) -> str:
    """Escape the text of a fact so that it starts no Markdown markup."""
    return _MARKDOWN.sub(r"\\\1", text)


def as_html(text: str, path: str, full: str | None) -> Markup:
    """Return the escaped text in an element that names its path and full value."""
    if full is None:
        return Markup('<span data-field="{}">{}</span>').format(path, text)
    return Markup('<span data-field="{}" data-value="{}">{}</span>').format(path, full, text)


class Fact:
    """A value of the stored facts with its path, to be shown by a template.

    `fact.key` (in a template) and `fact[key]` lead to inner facts. Conditions are not for
    templates to compute: beside truth and the test `given` (is not null), they get them by name.
    """

    def __init__(self, value: Any, form: Form, path: str) -> None:
        self._value, self._form, self._path = value, form, path

    def __getitem__(self, key: str | int) -> "Fact":
        return Fact(self._value[key], self._form, f"{self._path}.{key}")

    def __iter__(self) -> Iterator[Any]:
        """Iterate over the keys of a mapping, or the inner facts of a list."""
        if isinstance(self._value, Mapping):
            return iter(self._value)
        return (self[number] for number in range(len(self._value)))

    def __contains__(self, key: str) -> bool:
        return key in self._value

    def __len__(self) -> int:
        return len(self._value)

    def __bool__(self) -> bool:
        return bool(self._value)

    def __str__(self) -> str:
        return show(self)

    def __html__(self) -> str:
        return show(self)

    def items(self) -> list[tuple[str, "Fact"]]:
        """Return the keys of a mapping with their facts."""
        return [(key, self[key]) for key in self._value]


def show(fact: Fact, style: str = "") -> str:
    """Write a fact in one of `STYLES`; null is "undefined" in every style but the plain one."""
    value, full = fact._value, STYLES[""](fact._value)
    if value is None and style:
        return fact._form("undefined", fact._path, full)
    text = one_line(STYLES[style](value))
    return fact._form(text, fact._path, full if style else None)


def given(fact: Fact) -> bool:
    """Whether a fact is not null."""
    return fact._value is not None


def css_percent(fact: Fact) -> str:
    """Return a proportion as a CSS length, to place a mark on a scale."""
    return f"{100 * fact._value:.2f}%"


def at(fact: Fact, path: Iterable[str]) -> Fact:
    """Return the inner fact at a path of keys."""
    for key in path:
        fact = fact[key]
    return fact


def style_of(metric: Fact) -> str:
    """Return "percent" for a proportion and "score" for any other metric."""
    # The mean of a proportion over repeats has no count that would show what it is.
    counted = metric._value.get("k") is not None
    return "percent" if counted or metric._path.rpartition(".")[2] in IN_PERCENT else "score"
