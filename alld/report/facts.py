"""Sentences with numbers in them: every number is looked up in the facts, none is typed.

A sentence is a template such as `"{metrics.accuracy.k} of {metrics.accuracy.n} cell images"`, its
fields dotted paths into the content of `metrics.json`, with a style behind a colon where a number
is to be rounded. In HTML each field is marked with its path and full value, so that whatever the
page shows can be held against the file.
"""

import json
import re
from collections.abc import Callable, Mapping
from string import Formatter
from typing import Any

from markupsafe import Markup

from alld.runtime.files import one_line

STYLES: dict[str, Callable[[Any], str]] = {
    "": lambda value: value if isinstance(value, str) else json.dumps(value),
    "percent": lambda value: f"{100 * value:.1f} %",
    "points": lambda value: f"{100 * value:.1f}",  # the lower end of `87.0 to 98.9 %`
    "score": lambda value: f"{value:.3f}",
    "signed": lambda value: f"{value:+.3f}",  # a difference
    "signed_points": lambda value: f"{100 * value:+.1f}",
    "plain": lambda value: f"{value:.4g}",
    "seconds": lambda value: f"{value:.0f} s",
    "short": lambda value: str(value)[:12],  # of a hash
}
_MARKDOWN = re.compile(r"([\\`*\[\]<>|&])")


def look_up(facts: Any, field: str) -> Any:
    """The value at a dotted path; a number in it counts the entries of a list.

    Raises:
        KeyError, IndexError: a path that is not there, which is a mistake in a template.
    """
    if not field:
        return facts
    if not isinstance(facts, Mapping):
        key, _, rest = field.partition(".")
        return look_up(facts[int(key)], rest)
    # A key may hold a dot itself, as `ppv_at_0.1` does.
    keys = field.split(".")
    for length in range(len(keys), 0, -1):
        key = ".".join(keys[:length])
        if key in facts:
            return look_up(facts[key], ".".join(keys[length:]))
    raise KeyError(field)


def as_text(template: str, facts: Any, escape: Callable[[str], str] = lambda text: text) -> str:
    """The sentence as plain text; `escape` is applied to what comes from the facts alone."""
    return "".join(
        literal + ("" if field is None else escape(_written(facts, field, style or "")))
        for literal, field, style, _ in Formatter().parse(template)
    )


def as_markdown(template: str, facts: Any) -> str:
    """The sentence as Markdown; what comes from the facts starts no markup of its own."""
    return as_text(template, facts, lambda text: _MARKDOWN.sub(r"\\\1", text))


def as_html(template: str, facts: Any) -> Markup:
    """The sentence as HTML: everything escaped, each field in a span that says where it is from."""
    parts = []
    for literal, field, style, _ in Formatter().parse(template):
        parts.append(Markup.escape(literal))
        if field is not None:
            parts.append(marked(facts, field, style or ""))
    return Markup("").join(parts)


def marked(facts: Any, field: str, style: str = "", tag: str = "span") -> Markup:
    """One field as an element with `data-field`; a styled one has its full value in `data-value`.

    `tag` is `tspan` inside a drawing.
    """
    text = _written(facts, field, style)
    if not style:
        return Markup('<{0} data-field="{1}">{2}</{0}>').format(Markup(tag), field, text)
    value = STYLES[""](look_up(facts, field))
    return Markup('<{0} data-field="{1}" data-value="{2}">{3}</{0}>').format(
        Markup(tag), field, value, text
    )


def _written(facts: Any, field: str, style: str) -> str:
    value = look_up(facts, field)
    if value is None and style:
        return "undefined"
    return one_line(STYLES[style](value))
