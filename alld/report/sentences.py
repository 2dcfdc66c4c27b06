"""Render the sentences of a result, as plain text, Markdown or HTML, from the templates."""

import re
from collections.abc import Mapping
from functools import cache, partial
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from alld.report.conditions import Facts, conditions
from alld.report.facts import (
    STYLES,
    Fact,
    Form,
    as_html,
    as_text,
    at,
    css_percent,
    given,
    show,
    style_of,
)

# What only some kinds of results have; null for the others.
_OPTIONAL: Facts = {"external": None, "plan": None, "robustness": None}


def caveats(facts: Facts) -> list[str]:
    """Return what a reader must know before quoting a number, as plain sentences."""
    return sentences("limits.j2", facts)


def supports(facts: Facts) -> list[str]:
    """Return what the numbers support, as plain sentences."""
    return sentences("supports.j2", facts)


def patient_line(facts: Facts) -> str | None:
    """Return the numbers by patient as a sentence, or None where no patient is named."""
    return f"By patient: {say('by_patient_sentence', facts)}." if facts["by_patient"] else None


def say(macro: str, facts: Facts) -> str:
    """Return what a macro of `sentences.j2` says, as plain text."""
    module = template("sentences.j2", as_text).make_module(context(facts, as_text))
    return str(getattr(module, macro)())


def sentences(name: str, facts: Facts, form: Form = as_text) -> list[str]:
    """Return the list items of `supports.j2` or `limits.j2`, a sentence or two each."""
    rendered = template(name, form).render(context(facts, form))
    items = re.split(r"^- ", rendered, flags=re.MULTILINE)[1:]
    return [re.sub(r"\n\s*", " ", item.strip()) for item in items]


def context(facts: Facts, form: Form) -> dict[str, Any]:
    """Return what a template may use: every fact, and the conditions."""
    known: Mapping[str, Any] = {**_OPTIONAL, **facts}
    return {key: Fact(value, form, key) for key, value in known.items()} | conditions(facts)


@cache
def template(name: str, form: Form) -> Template:
    """Load a template; only HTML escapes what its own expressions return."""
    return _environment(form is as_html).get_template(name)


@cache
def _environment(html: bool) -> Environment:
    environment = Environment(
        loader=PackageLoader("alld.report"),
        autoescape=html,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"show": show, "at": at, "css_percent": css_percent}
    environment.filters |= {style: partial(show, style=style) for style in STYLES if style}
    environment.tests["given"] = given
    environment.globals["style_of"] = style_of
    return environment
