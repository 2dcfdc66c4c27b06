"""`/health`, `/model` and `/predict`: what programs are told is what `alld predict` says."""

import base64
import re
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from serving import FORM, POST, Reply, Site, running
from starlette.testclient import TestClient
from untrained import write_untrained

import alld
from alld.data.preprocess import pad_to_square
from alld.images.decode import decode
from alld.inference.heat_map import coloured, heat_map
from alld.inference.prediction import COLUMNS
from alld.inference.predictor import Predictor
from alld.model.bundle import read_info
from alld.serve.app import PAGE as PAGES
from alld.serve.app import create_app
from alld.serve.auth import Auth
from alld.serve.model_thread import ModelThread

PAGE = Path(alld.__file__).parent / "serve" / "page"


@pytest.fixture(scope="module")
def site(run_folder: Path) -> Iterator[Site]:
    """One server for all these tests; none of them may find a fault in it."""
    with running(run_folder) as site:
        yield site
    assert site.faults == []


def tiff(pixels: np.ndarray, mode: str | None = None) -> bytes:
    file = BytesIO()
    Image.fromarray(pixels, mode).save(file, "TIFF")
    return file.getvalue()


def picture_of(url: str) -> np.ndarray:
    assert url.startswith("data:image/png;base64,")
    return np.asarray(Image.open(BytesIO(base64.b64decode(url.partition(",")[2]))))


def test_health_says_that_the_model_is_there(site: Site) -> None:
    """With the version, the size of a file that is taken, and whether a token is wanted."""
    assert site.ask("/health").json == {
        "status": "ready",
        "token_needed": False,
        "version": alld.__version__,
        "most_bytes": 32 * 2**20,
    }


def test_the_model_says_all_that_its_bundle_says(site: Site, run_folder: Path) -> None:
    """Identity, data, validation with its note, SYNTHETIC, the notice; no path of this machine."""
    facts = site.ask("/model").json
    info = read_info(run_folder / "model.alld")
    assert facts["identity"] == Predictor.load(run_folder, "cpu").identity
    assert facts["name"] == run_folder.name
    assert facts["synthetic"] is facts["data"]["synthetic"] is True
    assert facts["validation"] == info.model_dump(mode="json")["validation"]
    assert facts["validation_note"] == info.validation_note
    assert facts["notice"] == alld.NOTICE
    assert str(run_folder.parent) not in site.ask("/model").body.decode()


def test_a_row_is_that_of_the_command(site: Site, run_folder: Path, drawn_set: Path) -> None:
    """The columns of `alld predict`, the probability to 1e-5, for every drawn image."""
    files = sorted(drawn_set.glob("*.tif"))
    expected = Predictor.load(run_folder, "cpu").predict(files)
    for file, wanted in zip(files, expected, strict=True):
        row = site.predict(file.read_bytes(), str(file)).json
        assert list(row)[: len(COLUMNS)] == list(COLUMNS)
        assert row["probability"] == pytest.approx(wanted.probability, abs=1e-5)
        row["probability"] = wanted.probability
        more = {"notes": [], "synthetic": True, "notice": alld.NOTICE}
        assert row == {**wanted.as_row(COLUMNS), **more}


def test_what_decoding_converted_is_said(site: Site) -> None:
    """16-bit grey under a wrong suffix: three notes."""
    row = site.predict(tiff(np.full((40, 40), 50_000, np.uint16)), "x.png").json
    assert row["verdict"]
    assert row["notes"] == [
        "16-bit samples scaled to 8",
        "grey to RGB",
        "named .png, but the content is TIFF",
    ]


def test_a_file_that_is_no_picture_is_a_row_with_a_reason(site: Site) -> None:
    """Status 200, as for `predict`: no verdict, no probability, one line of words."""
    reply = site.predict(b"no picture", "notes.tif")
    assert reply.status == 200
    row = reply.json
    assert (row["verdict"], row["probability"]) == (None, None)
    assert row["error"].startswith("notes.tif: text, not a TIFF")
    assert len(row["sha256"]) == 64


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("=1+1.tif", "./=1+1.tif"),
        ("", "image"),
        ("line\nbreak.tif", "line\nbreak.tif"),
        ("<b>.tif", "<b>.tif"),
        ("細胞.tif", "細胞.tif"),
    ],
)
def test_a_name_is_only_a_name(site: Site, drawn_set: Path, name: str, path: str) -> None:
    """It stands in the row as `predict` would write it, and steers nothing."""
    data = (drawn_set / "Im001_1.tif").read_bytes()
    assert site.predict(data, name).json["path"] == path
    error = site.predict(b"", name).json["error"]
    assert error.isprintable()
    assert error.endswith(
        "an empty file, not a TIFF, BMP, PNG, JPEG or WebP; save it as 8-bit RGB TIFF or PNG"
    )


def test_the_preview_is_the_square_that_the_model_gets(site: Site) -> None:
    """Decoded, padded by reflection, and not enlarged; a smaller side is as asked for."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)
    data = tiff(pixels)
    shown = picture_of(site.predict(data, preview=512).json["preview"])
    assert np.array_equal(shown, pad_to_square(decode(data, "x.tif").pixels))
    assert picture_of(site.predict(data, preview=32).json["preview"]).shape == (32, 32, 3)
    assert "preview" not in site.predict(data).json


@pytest.mark.parametrize(
    ("question", "word"),
    [
        ("nmae=x", "unknown parameter 'nmae'"),
        ("preview=15", "16 to 512"),
        ("preview=513", "16 to 512"),
        ("preview=-1", "16 to 512"),
        ("preview=" + "9" * 5000, "16 to 512"),
        ("preview=%D9%A3%D9%A3", "16 to 512"),
        ("explain=yes", "0 or 1"),
        ("name=" + "x" * 1001, "1001 characters"),
    ],
)
def test_a_question_that_is_not_understood_is_refused(site: Site, question: str, word: str) -> None:
    """Nothing is guessed: status 400 and what would be right."""
    reply = site.ask(f"/predict?{question}", "POST", b"", {"X-ALLD": "1"})
    assert (reply.status, word in reply.json["error"]) == (400, True)


def test_a_form_is_answered_with_a_row_for_each_file(site: Site, cell: bytes) -> None:
    """In the order of the files, each as if it came alone, also one that is no picture."""
    files = [("a.tif", cell), ("notes.txt", b"no picture"), ("b.png", cell)]
    rows = site.send_form(*files).json
    assert rows == [site.predict(data, name).json for name, data in files]
    assert [row["verdict"] is None for row in rows] == [False, True, False]


def test_a_form_of_one_file_takes_all_parameters(site: Site, cell: bytes) -> None:
    """A list of one row, with its preview and the name of the question."""
    [row] = site.send_form(("a.tif", cell), query="?name=b.tif&preview=32").json
    assert row == site.predict(cell, "b.tif", preview=32).json


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b"--xyz--\r\n", "it has none"),
        (
            b'--xyz\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n--xyz--\r\n',
            "text field",
        ),
        (b"no form", "boundary"),
        (b'--xyz\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n', "no end"),
    ],
)
def test_a_form_that_is_none_is_refused(site: Site, body: bytes, word: str) -> None:
    """Without a file, with a text field, broken off: status 400 and what to send."""
    reply = site.ask("/predict", "POST", body, POST | FORM)
    assert (reply.status, word in reply.json["error"]) == (400, True)
    assert "send 1 to 100 files" in reply.json["error"]


def test_a_form_has_no_more_than_a_hundred_files(site: Site) -> None:
    """One more is refused unread."""
    reply = site.send_form(*[("a.tif", b"")] * 101)
    assert (reply.status, "1 to 100 files" in reply.json["error"]) == (400, True)


@pytest.mark.parametrize("query", ["name=a.tif", "preview=32", "explain=1"])
def test_several_files_are_asked_for_rows_alone(site: Site, query: str) -> None:
    """Pictures of a hundred files would be too large an answer."""
    reply = site.send_form(("a.tif", b""), ("b.tif", b""), query=f"?{query}")
    assert (reply.status, "one by one" in reply.json["error"]) == (400, True)


def test_health_has_an_error_status_until_the_model_is_there(tmp_path: Path) -> None:
    """What starts containers looks at the status: 503, and when to ask again."""
    model = ModelThread(tmp_path, "cpu")  # never started
    app = create_app(model, Auth(frozenset({"testserver"})), print, print)
    reply = TestClient(app).get("/health")
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")
    assert reply.json()["status"] == "loading"


def test_a_path_that_is_not_there_says_where_all_are(site: Site) -> None:
    """And another method says which there is."""
    assert site.ask("/docs").json == {"error": "Not Found: see openapi.json"}
    reply = site.ask("/predict")
    assert (reply.status, reply.headers["allow"]) == (405, "POST")


def test_the_document_describes_every_answer(site: Site, cell: bytes) -> None:
    """All paths of the application, and of each answer the very keys, with their types."""
    document = site.ask("/openapi.json").json
    assert document["paths"].keys() == {
        *PAGES,
        "/health",
        "/model",
        "/predict",
        "/login",
        "/openapi.json",
    }
    for schema, answer in {
        "Health": site.ask("/health").json,
        "Model": site.ask("/model").json,
        "Prediction": site.predict(cell, preview=32, explain=1).json,
        "Error": site.ask("/docs").json,
    }.items():
        described = document["components"]["schemas"][schema]
        assert set(described["required"]) <= answer.keys() <= described["properties"].keys()
    assert "security" not in document["paths"]["/predict"]["post"]


def test_every_part_of_the_page_is_there(site: Site) -> None:
    """With its media type; other paths and methods are refused in JSON."""
    types = {
        "html": "text/html",
        "css": "text/css",
        "js": "text/javascript",
        "svg": "image/svg+xml",
    }
    for file in PAGE.iterdir():
        reply = site.ask("/" if file.suffix == ".html" else f"/{file.name}")
        assert reply.body == file.read_bytes()
        assert reply.headers["content-type"].startswith(types[file.suffix[1:]])
    assert [refused(site.ask(path)) for path in ("/x", "/../app.py", "/%2e%2e/app.py")] == [404] * 3
    assert refused(site.ask("/predict")) == 405


def test_a_heat_map_is_given_where_it_is_asked_for(tmp_path: Path) -> None:
    """That of the inference room, over the square that the preview shows."""
    model = write_untrained(tmp_path / "model.alld", 96)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    data = tiff(pixels)
    wanted = coloured(heat_map(Predictor.load(model, "cpu"), decode(data, "x.tif").pixels))
    with running(model) as site:
        row = site.predict(data, explain=1).json
        assert np.abs(picture_of(row["heat_map"]).astype(int) - wanted).max() <= 1
        assert "heat_map" not in site.predict(data, explain=0).json
        assert "heat_map" not in site.predict(b"no picture", explain=1).json


def test_a_model_without_heat_maps_says_why(site: Site) -> None:
    """At 32 px its features are one place: a sentence, and the verdict all the same."""
    row = site.predict(tiff(np.zeros((40, 40, 3), np.uint8)), explain=1).json
    assert "at 32 px" in row["no_heat_map"]
    assert row["verdict"]


def refused(reply: Reply) -> int:
    assert reply.json["error"]
    return reply.status


def test_the_page_bears_the_notice_and_loads_nothing_from_elsewhere() -> None:
    """The notice word for word, above and below; no address of another host in any part."""
    html = (PAGE / "page.html").read_text(encoding="utf-8")
    assert html.count(f"<strong>{alld.NOTICE}</strong>") == 2
    for file in PAGE.iterdir():
        addresses = re.findall(r"(?:https?:)?//[\w.]+", file.read_text(encoding="utf-8"))
        assert set(addresses) <= {"http://www.w3.org"}, file  # the name of SVG itself
    assert not re.search(r"\son\w+=|style=|<script>|<style", html)
