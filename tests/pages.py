"""Reads a report as a browser would, with the standard library alone."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from html import unescape
from html.parser import HTMLParser
from typing import Any

VOID = {"meta", "img", "br", "path", "use"}
# Numbers there are no results: file names, reasons of the decoder, citations, the style.
NOT_READ = {"file", "gone", "reason", "cite"}
# Fields that may be written in percent without saying so: their neighbour does, or "points".
IN_POINTS = ("ci_low", ".low", ".sd", "gain.value", "gain.ci_high")
# The only digits that may stand in a page without being looked up.
CONSTANTS = re.compile("95[ \u00a0]%|ALL-IDB[12]|model\\.weights_sha256|F1 score")


def called_in(row: Mapping[str, str]) -> str:
    """Return the class that a row of predictions.csv has at its threshold."""
    return "blast" if float(row["probability"]) >= float(row["threshold"]) else "healthy"


@dataclass
class Marked:
    """An element that says which fact it shows."""

    field: str
    value: str | None
    text: str = ""


@dataclass
class _Open:
    tag: str
    marked: Marked | None
    skipped: bool


@dataclass
class Page(HTMLParser):
    """Elements that show a fact, the text around them, and what else a test asks for."""

    html: str
    marked: list[Marked] = field(default_factory=list)
    loose: list[str] = field(default_factory=list)
    drawn: list[str] = field(default_factory=list)  # the words and numbers of the charts
    files: list[str] = field(default_factory=list)
    attributes: list[tuple[str, str, str]] = field(default_factory=list)  # tag, name, value
    _open: list[_Open] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.html)
        self.close()
        assert not self._open, f"never closed: {[one.tag for one in self._open]}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attrs}
        self.attributes += [(tag, name, value) for name, value in named.items()]
        if tag in VOID:
            return
        marked = None
        if "data-field" in named:
            marked = Marked(named["data-field"], named.get("data-value"))
            self.marked.append(marked)
        classes = set(named.get("class", "").split())
        if "file" in classes:
            self.files.append("")
        skipped = tag in ("style", "title") or bool(classes & NOT_READ)
        self._open.append(_Open(tag, marked, skipped))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self._open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        marks = [one.marked for one in self._open if one.marked]
        if marks:
            marks[-1].text += data
        elif any(one.tag == "svg" for one in self._open):
            self.drawn.append(data.strip())
        elif not any(one.skipped for one in self._open):
            self.loose.append(data)
        if self._open and self._open[-1].tag == "code" and self._open[-1].skipped:
            self.files[-1] += data

    @property
    def text(self) -> str:
        """All words of the page but those of its style."""
        without_style = re.sub(r"<style>.*?</style>", "", self.html, flags=re.DOTALL)
        return " ".join(unescape(re.sub(r"<[^>]*>", "", without_style)).split())

    def values(self, attribute: str, tag: str | None = None) -> list[str]:
        """All values of an attribute, of every tag or of one."""
        return [v for t, name, v in self.attributes if name == attribute and tag in (None, t)]


def fact(facts: Any, path: str) -> Any:
    """The value at a dotted path of JSON."""
    for key in path.split("."):
        facts = facts[key] if isinstance(facts, Mapping) else facts[int(key)]
    return facts


def shows(text: str, value: Any, *, low: bool = False) -> bool:
    """Whether a text is that value, or that number rounded to the digits shown.

    `low`: it is one of `IN_POINTS`, as in "87.0 to 98.9 %", and may be in percent too.
    """
    if isinstance(value, str):
        return text == value or (len(text) >= 12 and value.startswith(text))
    if value is None or isinstance(value, bool | list):
        return text in (json.dumps(value), "undefined")
    shown = Decimal(text.removesuffix(" %").removesuffix(" s"))
    half = Decimal(5).scaleb(int(shown.as_tuple().exponent) - 1) + Decimal("1e-9")  # ties
    percent = abs(shown - Decimal(value) * 100) <= half
    plain = abs(shown - Decimal(value)) <= half
    return percent if text.endswith("%") else plain or (low and percent)


def check_numbers(page: Page, facts: Any) -> None:
    """Each marked element holds the full value of its field and shows it, rounded at most."""
    whole = {**facts, "shown": len(page.values("src", "img"))}
    assert len(page.marked) > 100
    for marked in page.marked:
        value = fact(whole, marked.field)
        in_points = marked.field.endswith(IN_POINTS) or ".difference." in marked.field
        assert shows(marked.text, value, low=in_points), marked
        if marked.value is not None:
            assert marked.value == (value if isinstance(value, str) else json.dumps(value)), marked


def check_nothing_loose(page: Page) -> None:
    """Outside marked elements, only a few constant words and the ticks of charts have digits."""
    for text in page.loose:
        assert not re.search(r"\d", CONSTANTS.sub("", text)), text
    for text in page.drawn:
        assert re.fullmatch(r"\d+(\.\d+)?|1 - specificity.*|\D*", text), text


def check_self_contained(page: Page) -> None:
    """Links lead into the page, pictures are in it, and its policy forbids the rest."""
    assert "://" not in page.html
    assert not re.search(r"@import|url\(|<script|<link|<iframe", page.html)
    assert all(target.startswith("#") for target in page.values("href"))
    assert all(source.startswith("data:image/png;base64,") for source in page.values("src"))
    assert {target[1:] for target in page.values("href")} <= set(page.values("id"))
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in page.values("content")


def check_marks(page: Page) -> None:
    """Drawn images are called so in title, banner and source; the notice is at both ends."""
    assert "<title>SYNTHETIC: " in page.html
    assert "SYNTHETIC: the images are drawn" in page.text
    assert "SYNTHETIC images named as in ALL-IDB2" in page.text
    notice = "Not a medical device, not for diagnosis."
    assert page.text.count(notice) == 2
    assert page.html.index(notice) < page.html.index("<h1>")
    assert page.html.rindex(notice) > page.html.index("</main>")


def check_page(page: Page, facts: Any) -> None:
    """Every number is that of the file, and nothing on the page is from elsewhere."""
    check_numbers(page, facts)
    check_nothing_loose(page)
    check_self_contained(page)


def metric_fields(name: str, metric: Mapping[str, Any]) -> set[str]:
    """The fields of a metric that its page must show; only the reason where it is undefined."""
    keys = {"value", "k", "n", "ci_low", "ci_high", "method", "reason"}
    if metric["value"] is None:
        keys = {"reason"}
    return {f"metrics.{name}.{key}" for key in keys if metric.get(key) is not None}
