"""The page in a real browser: dropped, read, stepped through, saved, seen by axe-core."""

import base64
import csv
import io
import os
import re
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from hostile.places import NAMES
from PIL import Image
from serving import TOKEN, Site, running
from untrained import write_untrained

from alld import NOTICE
from alld.inference.prediction import COLUMNS
from alld.inference.predictor import Predictor
from alld.runtime.files import cell
from alld.serve import app

if TYPE_CHECKING:
    from playwright.sync_api import Browser, FileChooser, FloatRect, Page, Route

playwright = pytest.importorskip("playwright.sync_api")
Axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe
PATIENCE = 120_000  # ms; the machine may do much else
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WIDTHS = {"desk": {"width": 1280, "height": 900}, "phone": {"width": 390, "height": 844}}
SERIOUS = ("error", "warning")  # in the console


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
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
    with running(run_folder, TOKEN) as site:
        yield site


@dataclass
class Visit:
    """An open page, and what the browser noticed of it."""

    page: "Page"
    hosts: set[str] = field(default_factory=set)
    complaints: list[str] = field(default_factory=list)
    choosers: list["FileChooser"] = field(default_factory=list)

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

    def names(self) -> list[str]:
        """Return the files in the order of the table."""
        return self.page.locator("#rows .pick").all_inner_texts()

    def announced(self, words: str) -> None:
        """Wait until a screen reader would read these words."""
        self.page.locator("#live", has_text=words).wait_for(state="attached")


@contextmanager
def visiting(browser: "Browser", site: Site, **options: Any) -> Iterator[Visit]:
    """Open the page in a fresh context of the browser."""
    context = browser.new_context(**{"viewport": WIDTHS["desk"], **options})
    context.set_default_timeout(PATIENCE)
    visit = Visit(context.new_page())
    page = visit.page
    page.on("request", lambda request: visit.hosts.add(urlsplit(request.url).netloc))
    page.on(
        "console",
        lambda line: visit.complaints.append(line.text) if line.type in SERIOUS else None,
    )
    page.on("pageerror", lambda error: visit.complaints.append(str(error)))
    # Listened for from the start: a browser that is told to hand over its dialogues only
    # while a key is pressed misses some (measured: 10 of 20). A built-in function is not accepted.
    page.on("filechooser", lambda chooser: visit.choosers.append(chooser))  # noqa: PLW0108
    page.goto(site.url)
    try:
        yield visit
    finally:
        context.close()


@pytest.fixture
def visit(site: Site, browser: "Browser") -> Iterator[Visit]:
    """A visit at a desk. It fails if the page asks another host or the console complains."""
    with visiting(browser, site) as visit:
        yield visit
    assert visit.hosts == {f"127.0.0.1:{site.port}"}
    assert visit.complaints == []


def drop(visit: Visit, kind: str, *files: Path) -> None:
    """Drop or paste files as a person would, by the events that a browser sends."""
    given = [[file.name, base64.b64encode(file.read_bytes()).decode()] for file in files]
    visit.page.evaluate(
        """([kind, given]) => {
          const carried = new DataTransfer();
          for (const [name, data] of given) {
            const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
            carried.items.add(new File([bytes], name));
          }
          const event = kind === "drop" ? DragEvent : ClipboardEvent;
          const key = kind === "drop" ? "dataTransfer" : "clipboardData";
          const happens = { bubbles: true, cancelable: true, [key]: carried };
          document.querySelector("#take").dispatchEvent(new event(kind, happens));
        }""",
        [kind, given],
    )
    visit.settle()


@pytest.fixture(scope="module")
def predictor(run_folder: Path) -> Predictor:
    return Predictor.load(run_folder, "cpu")


@pytest.fixture(scope="module")
def batch(drawn_set: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Twenty files: 17 drawn cells, and an empty one, a text and half a picture. Read only."""
    folder = tmp_path_factory.mktemp("batch")
    cells = sorted(drawn_set.glob("*.tif"))[10:27]
    files = [Path(shutil.copy(file, folder / file.name)) for file in cells]
    bad = {"empty.tif": b"", "notes.tif": b"no picture", "half.tif": cells[0].read_bytes()[:5000]}
    for name, data in bad.items():
        (folder / name).write_bytes(data)
    return [*files, *(folder / name for name in bad)]


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_a_tiff_is_shown_with_the_verdict_of_the_command(
    visit: Visit, drawn_set: Path, predictor: Predictor, kind: str
) -> None:
    """Dropped or pasted: its picture, the verdict in words, the probability to 1e-5."""
    file = drawn_set / "Im002_1.tif"
    [wanted] = predictor.predict([file])
    drop(visit, kind, file)
    assert visit.text("#name") == "Im002_1.tif"
    assert visit.probability() == pytest.approx(wanted.probability, abs=1e-5)
    assert visit.text("#verdict-word") == str(wanted.verdict).capitalize()
    size = visit.page.evaluate("() => document.querySelector('#preview').naturalWidth")
    assert size == 257
    visit.announced(f"Im002_1.tif: {str(wanted.verdict).capitalize()}, P(blast)")


def test_what_stands_behind_a_verdict_is_said(
    visit: Visit, tmp_path: Path, predictor: Predictor
) -> None:
    """Validation accuracy with interval and note, conversions, model, data, SYNTHETIC, notice."""
    Image.fromarray(np.full((60, 40), 50_000, np.uint16)).save(tmp_path / "grey.tif")
    visit.give(tmp_path / "grey.tif")
    accuracy = predictor.info.validation["accuracy"]
    trust = visit.text("#trust")
    assert trust.startswith(f"Validation accuracy {accuracy['k']} of {accuracy['n']}: ")
    assert "Wilson 95 %" in trust
    assert predictor.info.validation_note in trust
    assert visit.text("#notes") == "16-bit samples scaled to 8 grey to RGB"
    model = visit.text("#model")
    assert predictor.identity in model
    assert predictor.info.arch in model
    assert predictor.info.data.name in model
    assert visit.page.is_visible("#synthetic")
    assert visit.page.title().startswith("SYNTHETIC")
    assert visit.text("header").endswith(NOTICE)


def test_a_scale_shows_probability_and_threshold(visit: Visit, drawn_set: Path) -> None:
    """The dot lies where P(blast) is, the line at the threshold; both are told in words."""
    visit.give(drawn_set / "Im002_1.tif")
    track, dot, line = (box(visit, name) for name in ("#scale .track", "#dot", "#threshold"))
    left, width = track["x"], track["width"]
    middle = dot["x"] + dot["width"] / 2
    assert (middle - left) / width == pytest.approx(visit.probability(), abs=0.02)
    assert (line["x"] + line["width"] / 2 - left) / width == pytest.approx(0.5, abs=0.02)
    said = visit.page.get_attribute("#scale", "aria-label") or ""
    assert re.match(r"P\(blast\) \S.* on a scale from 0, healthy, to 1, blast; threshold", said)


def box(visit: Visit, selector: str) -> "FloatRect":
    found = visit.page.locator(selector).bounding_box()
    assert found
    return found


def test_a_heat_map_lies_over_the_picture_as_dense_as_the_slider_says(
    browser: "Browser", batch: list[Path], tmp_path: Path
) -> None:
    """By mouse and keyboard; it stays on while one steps through the images, and goes again."""
    model = write_untrained(tmp_path / "model.alld", 96)
    opacity = "() => getComputedStyle(document.querySelector('#heat')).opacity"
    with running(model) as site, visiting(browser, site) as visit:
        page = visit.page
        visit.give(*batch[:2])
        assert not page.is_visible("#heat")
        assert page.is_disabled("#opacity")
        page.click("#heat-switch")
        page.wait_for_selector("#heat:not([hidden])")
        assert page.evaluate("() => document.querySelector('#heat').naturalWidth") == 96
        page.fill("#opacity", "80")
        assert page.evaluate(opacity) == "0.8"
        page.focus("#opacity")
        page.keyboard.press("ArrowRight")
        assert page.evaluate(opacity) == "0.85"
        assert visit.text("#name") == batch[0].name  # the key was for the slider
        first = page.get_attribute("#heat", "src")
        page.click("#next")
        page.wait_for_selector("#heat:not([hidden])")
        assert page.get_attribute("#heat", "src") != first
        page.click("#heat-switch")
        assert not page.is_visible("#heat")
        assert (visit.complaints, visit.hosts) == ([], {f"127.0.0.1:{site.port}"})


def test_a_model_without_heat_maps_is_said_so(visit: Visit, batch: list[Path]) -> None:
    """In words, in the place of the map."""
    visit.give(batch[0])
    visit.page.click("#heat-switch")
    visit.page.locator("#heat-words", has_text="at 32 px").wait_for()
    assert not visit.page.is_visible("#heat")


def test_a_batch_has_a_row_for_every_file(visit: Visit, batch: list[Path]) -> None:
    """Seventeen verdicts, three reasons in words; the counts stand above."""
    visit.give(*batch)
    assert visit.text("#count") == "20 images"
    assert "3 without a verdict" in visit.text("#tally")
    rows = dict(zip(visit.names(), visit.page.locator("#rows tr").all_inner_texts(), strict=True))
    assert list(rows) == [file.name for file in batch]
    assert "an empty file, not a TIFF" in rows["empty.tif"]
    assert "text, not a TIFF" in rows["notes.tif"]
    assert "half.tif:" not in rows["half.tif"]  # the reason alone, the name stands above it
    assert rows["half.tif"].count("No verdict") == 1
    assert visit.page.locator("#rows img").count() == 17
    visit.announced("20 images: ")


def test_the_saved_table_is_that_of_the_command(
    visit: Visit, batch: list[Path], predictor: Predictor
) -> None:
    """The columns and rows of `alld predict --format csv`, in the order shown."""
    visit.give(*batch)
    visit.page.click("[data-column=name]")
    visit.page.click("[data-column=name]")
    with visit.page.expect_download() as download:
        visit.page.click("#csv")
    saved = Path(download.value.path()).read_text(encoding="utf-8")
    rows = list(csv.DictReader(io.StringIO(saved)))
    assert list(rows[0]) == list(COLUMNS)
    assert [row["path"] for row in rows] == visit.names()
    assert visit.names() == sorted(visit.names(), key=str.lower, reverse=True)
    wanted = {Path(p.path).name: p for p in predictor.predict(batch)}
    for row in rows:
        expected = wanted[row["path"]]
        assert row["sha256"] == expected.sha256
        assert row["verdict"] == (expected.verdict or "")
        given = None if row["probability"] == "" else float(row["probability"])
        assert given == pytest.approx(expected.probability, abs=1e-5)
        assert bool(row["error"]) == bool(expected.error)


def test_no_cell_of_the_saved_table_is_a_formula(visit: Visit) -> None:
    """Names as hostile as they come are written as ALLD's own tables write them."""
    # Bytes that are not UTF-8 never reach a browser: they become surrogates.
    names = [name for name in map(os.fsdecode, NAMES) if not re.search("[\ud800-\udfff]", name)]
    assert len(names) > 20
    written = visit.page.evaluate(
        "async (names) => { const { cell } = await import('/csv.js'); return names.map(cell); }",
        names,
    )
    assert written == [cell(name) for name in names]


def test_the_table_sorts_by_each_column(visit: Visit, batch: list[Path]) -> None:
    """Probability the highest first; twice turns it; the header says so to screen readers."""
    visit.give(*batch[10:])
    visit.page.click("[data-column=probability]")
    numbers = visit.page.locator("#rows td.n").all_inner_texts()
    values = [float(text.strip("<> ")) for text in numbers if text]
    assert values == sorted(values, reverse=True)
    assert numbers[-3:] == ["", "", ""]
    head = "th:has([data-column=probability])"
    assert visit.page.get_attribute(head, "aria-sort") == "descending"
    visit.page.click("[data-column=probability]")
    assert visit.page.get_attribute(head, "aria-sort") == "ascending"
    visit.page.click("[data-column=verdict]")
    assert visit.page.get_attribute(head, "aria-sort") is None
    words = visit.page.locator("#rows .word").all_inner_texts()
    assert [word[2:] for word in words] == sorted(word[2:] for word in words)


def test_all_of_it_goes_by_keyboard(visit: Visit, batch: list[Path]) -> None:
    """Choose, step to and fro, walk the table, sort and save, without a mouse."""
    page = visit.page
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.id") == "choose"
    choose_by_enter(visit, batch[:5])
    names = [file.name for file in batch[:5]]
    for key, shown in (("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1)):
        page.keyboard.press(key)
        assert visit.text("#name") == names[shown]
    visit.announced(names[1])
    tab_to(visit, ".pick")
    for key, shown in (("ArrowDown", 2), ("End", 4), ("ArrowDown", 4), ("Home", 0)):
        page.keyboard.press(key)
        assert visit.text("#name") == names[shown]
        assert page.evaluate("() => document.activeElement.textContent") == names[shown]
    tab_to(visit, "#csv")
    with page.expect_download():
        page.keyboard.press("Enter")
    tab_to(visit, "[data-column=name]")
    page.keyboard.press("Space")
    page.keyboard.press("Space")
    assert visit.names() == sorted(names, reverse=True)


def choose_by_enter(visit: Visit, files: list[Path]) -> None:
    """Press the focused button once; the dialogue that it opens gets the files."""
    visit.page.keyboard.press("Enter")
    patience_ends = time.monotonic() + PATIENCE / 1000
    while not visit.choosers:
        assert time.monotonic() < patience_ends, "no dialogue opened"
        visit.page.wait_for_timeout(20)
    visit.choosers.pop().set_files([str(file) for file in files])
    visit.settle()


def tab_to(visit: Visit, selector: str) -> None:
    """Press Tab until the focus is there; what cannot be reached so fails."""
    for _ in range(40):
        if visit.page.evaluate(f"() => document.activeElement.matches('{selector}')"):
            return
        visit.page.keyboard.press("Tab")
    raise AssertionError(f"no way to {selector} by the tab key")


def test_a_name_is_shown_and_never_run(visit: Visit, tmp_path: Path) -> None:
    """Markup in a name stays letters, in the row, the heading and the reason."""
    name = "<img src=x onerror=alert(1)>&amp;.tif"
    (tmp_path / name).write_bytes(b"no picture")
    visit.give(tmp_path / name)
    assert visit.text("#name") == name
    assert visit.names() == [name]
    assert visit.page.locator("img[src=x]").count() == 0


def test_two_files_of_one_name_are_two_rows(visit: Visit, drawn_set: Path, tmp_path: Path) -> None:
    """The second says that it is one; choosing the same file again is possible."""
    file = drawn_set / "Im001_1.tif"
    visit.give(file)
    visit.give(file)
    assert visit.names() == ["Im001_1.tif", "Im001_1.tif (2)"]


def test_a_file_that_is_too_large_is_not_sent(
    visit: Visit, batch: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page knows the limit and says it; the others are classified."""
    monkeypatch.setattr(app, "MOST_BYTES", 2**20)
    visit.page.reload()
    large = batch[0].with_name("large.tif")
    large.write_bytes(b"x" * (2**20 + 1))
    visit.give(large, batch[0])
    assert visit.text("#sentence") == "larger than 1 MiB; crop it to one cell"
    assert visit.page.locator("#rows [data-verdict=none]").count() == 1


def test_the_page_works_below_a_root_path(
    run_folder: Path, browser: "Browser", batch: list[Path]
) -> None:
    """Scripts, token and images, from an address without the slash at its end."""
    below = running(run_folder, TOKEN, root_path="/lab/cells")
    with below as site, visiting(browser, site) as visit:
        visit.page.goto(f"{site.url}lab/cells")
        visit.page.fill("#token", TOKEN)
        visit.page.click("#login-form button")
        visit.give(*batch[:2])
        assert visit.page.locator("#rows .word").count() == 2
        assert visit.page.url == f"{site.url}lab/cells/"
        [cookie] = visit.page.context.cookies()
        assert cookie["path"] == "/lab/cells/"


def test_images_can_be_removed(visit: Visit, batch: list[Path]) -> None:
    """The page is as it was at first, and takes others."""
    visit.give(*batch[:3])
    visit.page.click("#clear")
    assert not visit.page.is_visible("#pictures")
    visit.give(*batch[3:5])
    assert visit.names() == [file.name for file in batch[3:5]]
    assert visit.text("#name") == batch[3].name


def test_images_wait_while_the_model_loads(visit: Visit, batch: list[Path]) -> None:
    """The page says so and takes them; they are classified as soon as it is there."""
    loading = threading.Event()
    facts = {"status": "loading", "token_needed": False, "most_bytes": 2**25, "version": ""}

    def health(route: "Route") -> None:
        route.continue_() if loading.is_set() else route.fulfill(status=503, json=facts)

    visit.page.route("**/health", health)
    visit.page.reload()
    visit.page.wait_for_selector("#loading:not([hidden])")
    visit.page.set_input_files("#files", [str(file) for file in batch[:2]])
    assert visit.text("#verdict-word") == "Waits for its verdict"
    loading.set()
    visit.settle()
    assert visit.page.locator("#rows .word").count() == 2
    assert not visit.page.is_visible("#loading")
    # The browser itself writes down every answer with an error status.
    visit.complaints = [line for line in visit.complaints if "503" not in line]


def test_a_busy_server_is_asked_again(
    site: Site, browser: "Browser", batch: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the queue is full the page waits and tries again, until all are classified."""
    monkeypatch.setattr(app, "QUEUE", 1)
    with visiting(browser, site) as visit:
        visit.give(*batch)
        assert visit.text("#count") == "20 images"
        assert "3 without a verdict" in visit.text("#tally")


def test_a_server_that_is_gone_is_said_in_words(
    site: Site, browser: "Browser", batch: list[Path]
) -> None:
    """Each file has its reason, and nothing hangs."""
    with visiting(browser, site) as visit:
        visit.page.wait_for_selector("#synthetic")
        visit.page.route("**/predict*", lambda route: route.abort())
        visit.give(*batch[:2])
        assert "the server does not answer" in visit.text("#sentence")
        assert visit.text("#tally") == "2 without a verdict"


def test_a_token_is_asked_for(locked: Site, browser: "Browser", drawn_set: Path) -> None:
    """A wrong one is refused in words; the right one opens the page, also after a reload."""
    with visiting(browser, locked) as visit:
        page = visit.page
        page.fill("#token", "wrong")
        page.keyboard.press("Enter")
        page.wait_for_selector("#login-trouble:not([hidden])")
        assert "not the token" in visit.text("#login-trouble")
        page.fill("#token", TOKEN)
        page.keyboard.press("Enter")
        page.wait_for_selector("#login:not([open])", state="attached")
        visit.give(drawn_set / "Im001_1.tif")
        assert visit.probability() >= 0
        page.reload()
        page.wait_for_selector("#synthetic")
        assert not page.is_visible("#login")


@pytest.mark.parametrize(("width", "scheme"), [("desk", "light"), ("phone", "dark")])
def test_axe_finds_nothing_serious(
    site: Site, browser: "Browser", batch: list[Path], width: str, scheme: str
) -> None:
    """Empty, with a batch, with a file without a verdict; nothing is cut off at the side."""
    options = {"viewport": WIDTHS[width], "color_scheme": scheme}
    with visiting(browser, site, **options) as visit:
        visit.page.wait_for_selector("#synthetic")
        assert serious(visit) == []
        visit.give(*batch)
        visit.page.click("#heat-switch")
        assert visit.page.is_enabled("#opacity")
        assert serious(visit) == []
        visit.page.click("#rows tr:last-child .pick")
        visit.page.click("summary")
        assert visit.text("#verdict-word") == "No verdict"
        assert serious(visit) == []
        wide = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert visit.page.evaluate(wide) == 0


def serious(visit: Visit) -> list[str]:
    """What axe-core calls serious or critical, by WCAG 2.2 AA and good practice."""
    found = Axe().run(visit.page).response["violations"]
    return [
        f"{one['id']}: {[node['target'] for node in one['nodes']]}"
        for one in found
        if one["impact"] in ("serious", "critical")
    ]


def test_axe_would_find_something(visit: Visit) -> None:
    """A picture without words is seen."""
    visit.page.evaluate(
        "() => document.querySelector('main').append(document.createElement('img'))"
    )
    assert any("image-alt" in fault for fault in serious(visit))
