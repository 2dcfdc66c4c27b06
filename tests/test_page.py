"""The page in a real browser: dropped, read, stepped through, saved, seen by axe-core."""

import csv
import io
import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hostile.places import NAMES
from PIL import Image
from serving import Site, running

from alld.files import cell
from alld.inference.prediction import COLUMNS
from alld.inference.predictor import Predictor

playwright = pytest.importorskip("playwright.sync_api")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WIDTHS = {"desk": (1280, 900), "phone": (390, 844)}


@pytest.fixture(scope="module")
def browser() -> Iterator["playwright.Browser"]:
    """The system's own Chromium; ALLD_CHROMIUM names another one. Downloads nothing."""
    named = [os.environ.get("ALLD_CHROMIUM"), *map(shutil.which, BROWSERS)]
    found = next((path for path in named if path), None)
    if found is None:
        pytest.skip("no Chromium on this machine (apt install chromium, or ALLD_CHROMIUM)")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def site(run_folder: Path) -> Iterator[Site]:
    with running(run_folder) as site:
        yield site


@pytest.fixture(scope="module")
def locked(run_folder: Path) -> Iterator[Site]:
    with running(run_folder, "correct horse battery staple") as site:
        yield site


@dataclass
class Visit:
    """A page that was opened, and what a browser noticed of it."""

    page: "playwright.Page"
    hosts: set[str] = field(default_factory=set)
    complaints: list[str] = field(default_factory=list)

    def give(self, *files: Path) -> None:
        """Choose files, and wait until all have a verdict or a reason."""
        self.page.set_input_files("#files", [str(file) for file in files])
        self.settle()

    def settle(self) -> None:
        self.page.wait_for_selector("#pictures:not([hidden]) #progress[hidden]", state="attached")

    def text(self, selector: str) -> str:
        return " ".join(self.page.inner_text(selector).split())

    def probability(self) -> float:
        return float(self.page.get_attribute("#scale", "data-probability") or "nan")

    def shown(self) -> str:
        return self.text("#name")

    def names(self) -> list[str]:
        """The files in the order of the table."""
        return self.page.locator("#rows .pick").all_inner_texts()

    def saved(self) -> str:
        """The text of the CSV file that the button gives."""
        with self.page.expect_download() as download:
            self.page.click("#csv")
        return Path(download.value.path()).read_text(encoding="utf-8")

    def hears(self, words: str) -> None:
        """Wait until a screen reader is told so."""
        heard = self.page.locator("#live", has_text=words)
        heard.wait_for(state="attached")


@pytest.fixture
def visit(site: Site, browser: "playwright.Browser") -> Iterator[Visit]:
    """A visit at a desk. It fails where another host is asked or the console complains."""
    with visiting(browser, site) as visit:
        yield visit
    assert visit.hosts == {f"127.0.0.1:{site.port}"}
    assert visit.complaints == []


class visiting:  # noqa: N801 - reads as a word in a `with`
    """A page of a site in a fresh context of the browser."""

    def __init__(self, browser: "playwright.Browser", site: Site, **options: object) -> None:
        width, height = WIDTHS["desk"]
        viewport = {"width": width, "height": height}
        self.context = browser.new_context(**{"viewport": viewport, **options})
        self.site = site

    def __enter__(self) -> Visit:
        visit = Visit(self.context.new_page())
        visit.page.on("request", lambda request: visit.hosts.add(host_of(request.url)))
        visit.page.on("console", lambda said: heard(visit, said.type, said.text))
        visit.page.on("pageerror", lambda error: heard(visit, "error", str(error)))
        visit.page.goto(self.site.url)
        return visit

    def __exit__(self, *_error: object) -> None:
        self.context.close()


def host_of(url: str) -> str:
    """The host that a request goes to; data and blobs go to none, and are this page's own."""
    if url.startswith(("data:", "blob:")):
        return url.removeprefix("blob:").split("/")[2] if url.startswith("blob:") else OWN[0]
    return url.split("/")[2]


def heard(visit: Visit, kind: str, text: str) -> None:
    if kind in ("error", "warning"):
        visit.complaints.append(text)
