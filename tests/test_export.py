"""Exported models: the same rows from another runtime, and files that are rejected."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import Answer
from hostile.bundles import assert_refused, flip
from hostile.exported import LIES
from numpy.typing import NDArray
from onnx import ModelProto
from PIL import Image
from serving import running
from untrained import write_untrained

from alld import NOTICE
from alld.cells.facts import picture_facts
from alld.data.preprocess import normalise, to_square
from alld.errors import BundleError, ConfigError, DataError, RunError
from alld.evaluation import export
from alld.evaluation.export import export_hub
from alld.images.decode import decode, read_image_bytes
from alld.inference.prediction import OUT_OF_DOMAIN, UNCERTAIN, VERDICTS, Prediction
from alld.inference.predictor import Predictor
from alld.model.abstain import fit_limits
from alld.model.bundle import bundle_identity, read_bundle, write_bundle
from alld.model.bundle_info import INFO, DomainLimits, UncertainBand
from alld.model.onnx.export import compare, write_onnx
from alld.model.onnx.file import FACTS, LARGEST_DIFFERENCE, read_exported
from alld.model.onnx.network import OnnxNetwork
from alld.model.torch_network import TorchNetwork, join_bundles
from alld.runtime.files import sha256_hex

Pixels = NDArray[np.uint8]
FLIPS = 24


@pytest.fixture(scope="module")
def cells(drawn_set: Path) -> list[Path]:
    return sorted(drawn_set.glob("*.tif"))


@pytest.fixture(scope="module")
def pictures(cells: list[Path]) -> list[Pixels]:
    return [decode(read_image_bytes(file), file.name).pixels for file in cells]


@pytest.fixture(scope="module")
def bundle(pictures: list[Pixels], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Untrained, with limits and an uncertain band that the drawn cells are on both sides of."""
    folder = tmp_path_factory.mktemp("export")
    plain = read_bundle(write_untrained(folder / "plain", arch="timm:test_resnet"))
    squares = [to_square(pixels, 32, "none") for pixels in pictures]
    images = normalise(np.stack(squares), plain.info.mean, plain.info.std)
    features, logits = TorchNetwork([plain.model], 32, "cpu").look(images, tta=False)
    sides = (max(pixels.shape[:2]) for pixels in pictures)
    facts = np.stack(list(map(picture_facts, squares, sides)))
    limits = fit_limits((features[:20], facts[:20]), (features[20:], facts[20:]), 0.5)
    ends = np.quantile(1 / (1 + np.exp(logits[:, 0] - logits[:, 1])), [0.3, 0.6]).tolist()
    changed = {
        "limits": DomainLimits(limit=limits.limit, deviations=0.5, images=20, reason=None),
        "uncertain": UncertainBand(low=ends[0], high=ends[1], how="for this test"),
    }
    write_bundle(folder / "model.alld", plain.model, plain.info.model_copy(update=changed), limits)
    return folder / "model.alld"


@pytest.fixture(scope="module")
def exported(bundle: Path) -> Path:
    """As the command writes it. Read only."""
    return export.export_onnx(bundle, bundle.parent / "x.onnx")[0]


@pytest.fixture
def copied(exported: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copy(exported, tmp_path / "x.onnx"))


def paths(cells: list[Path], folder: Path) -> list[Path]:
    """Cells, a picture that is none, a file that is no picture, and one that is missing."""
    noise = np.random.default_rng(0).integers(0, 256, (90, 60, 3), np.uint8)
    (folder / "text.tif").write_text("no picture")
    Image.fromarray(noise).save(folder / "noise.png")
    names = ("noise.png", "text.tif", "missing.tif")
    return [*cells, *(folder / name for name in names)]


def without_model(rows: list[Prediction]) -> list[Prediction]:
    return [replace(row, model="", probability=None) for row in rows]


@pytest.mark.parametrize("tta", [False, True])
def test_an_exported_model_gives_the_rows_of_its_bundle(
    bundle: Path, exported: Path, cells: list[Path], tmp_path: Path, tta: bool
) -> None:
    """All but P(blast), which is equal to 1e-5, and the model: rows name the hash of the file."""
    files = paths(cells, tmp_path)
    rows = Predictor.load(bundle, "cpu", tta=tta).predict(files)
    again = Predictor.load(exported, tta=tta).predict(files)
    assert without_model(again) == without_model(rows)
    assert {row.model for row in again} == {sha256_hex(exported.read_bytes())}
    for row, other in zip(rows, again, strict=True):
        assert row.probability == pytest.approx(other.probability, abs=1e-5)
    assert {OUT_OF_DOMAIN, None} < {row.verdict for row in rows}
    assert tta or UNCERTAIN in {row.verdict for row in rows}


def test_an_exported_model_needs_no_torch(exported: Path, cells: list[Path]) -> None:
    """Nor does the whole command import fastai, scipy or another library that takes seconds."""
    code = (
        "import sys; from alld.cli import run_command; "
        f"status = run_command(['predict', '--model', {str(exported)!r}, {str(cells[0])!r}]); "
        "print(status, *sys.modules)"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    row, last = done.stdout.splitlines()
    status, *loaded = last.split()
    assert status == "0"
    assert "P(blast)" in row
    heavy = {"torch", "fastai", "timm", "scipy", "sklearn", "pandas", "matplotlib", "captum"}
    assert not heavy & {name.split(".")[0] for name in loaded}
    assert "onnxruntime" in loaded


def test_rows_do_not_depend_on_the_batch_or_the_number_of_threads(
    exported: Path, cells: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five together are what five alone are; of several threads the rows are equal bitwise."""
    network = OnnxNetwork("x", exported.read_bytes(), 1)
    images = np.random.default_rng(0).standard_normal((5, 3, 32, 32)).astype(np.float32)
    features, logits = network.look(images, tta=False)
    alone = [network.look(images[i : i + 1], tta=False) for i in range(5)]
    np.testing.assert_allclose(features, np.concatenate([one for one, _ in alone]), atol=1e-5)
    np.testing.assert_allclose(logits, np.concatenate([one for _, one in alone]), atol=1e-5)
    monkeypatch.setattr("alld.inference.predictor.CPU_BATCH", 7)
    found = [Predictor.load(exported, threads=threads).predict(cells) for threads in (1, 2, 3)]
    assert found[0] == found[1] == found[2]


def test_the_file_holds_the_facts_that_predictions_need(bundle: Path, exported: Path) -> None:
    """The bundle's facts as they are, its identity, the comparison, the notice: strict JSON."""
    model = ModelProto.FromString(exported.read_bytes())
    entries = {entry.key: entry.value for entry in model.metadata_props}
    info = json.loads(entries[INFO], parse_constant=pytest.fail)
    assert info == json.loads((bundle / "alld.json").read_text())
    facts = json.loads(entries[FACTS], parse_constant=pytest.fail)
    assert facts["bundle"] == bundle_identity(bundle)
    assert 0 <= facts["parity"]["probability"] <= LARGEST_DIFFERENCE
    assert "20 drawn cells" in facts["parity"]["words"]
    assert entries["notice"] == info["notice"]
    assert "SYNTHETIC" in model.doc_string
    # torch would write its source lines, and their folders, into each node.
    for place in (b"site-packages", b".py", str(Path(__file__).parents[1]).encode()):
        assert place not in exported.read_bytes()


@pytest.mark.parametrize("part", ["logits", "features"])
def test_an_export_that_differs_is_refused(
    bundle: Path, pictures: list[Pixels], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    """By more than 1e-4 in P(blast), or in what refuses a picture: one line, and no file."""
    whole = read_bundle(bundle)
    original = TorchNetwork([whole.model], 32, "cpu")
    look = original.look

    class Other(TorchNetwork):
        def look(self, images: NDArray[np.float32], *, tta: bool) -> tuple[object, object]:  # type: ignore[override]
            features, logits = look(images, tta=tta)
            wrong = np.array([0.0, 1e-3])
            return (features, logits + wrong) if part == "logits" else (features[:, ::-1], logits)

    other = Other([whole.model], 32, "cpu")
    monkeypatch.setattr("alld.model.onnx.export.OnnxNetwork", lambda *_, **_more: other)
    monkeypatch.setattr("alld.model.onnx.export._as_onnx", lambda *_: ModelProto())
    (tmp_path / "x.onnx").write_text("an older one")
    with pytest.raises(BundleError, match="nothing was written"):
        write_onnx(bundle, [whole], tmp_path / "x.onnx", pictures[:4], "drawn cells")
    assert [file.read_text() for file in tmp_path.iterdir()] == ["an older one"]
    model = join_bundles(bundle, [whole], original)
    assert compare(model, original, pictures[:4], "cells").probability == 0


def test_a_run_is_compared_on_its_validation_images(run_folder: Path) -> None:
    """The test images are read once, by the test; drawn ones stand in where they are gone."""
    found, words = export._pictures(run_folder / "model.alld", None, lambda *_: None)
    assert (len(found), words) == (6, "SYNTHETIC validation images of the run")
    with pytest.raises(DataError):
        export._pictures(run_folder / "model.alld", run_folder / "gone", lambda *_: None)


def test_every_flipped_bit_is_refused(copied: Path) -> None:
    """In the weights, the facts and the hash; turned back, the file reads."""
    rng, bits = np.random.default_rng(0), 8 * copied.stat().st_size
    # Half of them near the end, where the metadata are.
    places = [
        *rng.integers(bits, size=FLIPS // 2),
        *(bits - 1 - rng.integers(8000, size=FLIPS // 2)),
    ]
    for bit in map(int, places):
        flip(copied, bit)
        with pytest.raises(BundleError) as caught:
            read_exported(copied)
        assert str(caught.value).isprintable()
        flip(copied, bit)
    read_exported(copied)


@pytest.mark.parametrize("name", LIES)
def test_a_file_that_lies_is_refused(
    alld: Callable[..., Answer], copied: Path, cells: list[Path], name: str
) -> None:
    """Also with a right hash: status 2, one line that says why, and nothing in it was run."""
    damage, named = LIES[name]
    damage(copied)
    assert_refused(alld("predict", "--model", copied, cells[0]), named, copied.parent)


def test_a_folder_for_the_hub_predicts_as_the_run(
    alld: Callable[..., Answer], run_folder: Path, cells: list[Path], tmp_path: Path
) -> None:
    """Also with what the Hub adds to it: the bundle lies there unchanged."""
    status, out, _ = alld("export", run_folder, "--format", "hub", "--out", tmp_path / "hub")
    assert (status, out) == (0, f"SYNTHETIC exported: {tmp_path / 'hub'}\n")
    (tmp_path / "hub" / ".gitattributes").touch()
    rows = Predictor.load(run_folder, "cpu").predict(cells[:3])
    assert Predictor.load(tmp_path / "hub", "cpu").predict(cells[:3]) == rows


def test_the_card_of_the_hub_has_the_numbers_and_says_what_they_are(
    run_folder: Path, tmp_path: Path
) -> None:
    """YAML with each value and interval of the test, SYNTHETIC, the notice, the identity."""
    hub, identity, _ = export_hub(run_folder, tmp_path / "hub")
    _, metadata, card = (hub / "README.md").read_text().split("---\n", 2)
    content = yaml.safe_load(metadata)
    facts = json.loads((run_folder / "evaluation" / "metrics.json").read_text())["metrics"]
    [result] = content["model-index"][0]["results"]
    accuracy = next(one for one in result["metrics"] if one["type"] == "accuracy")
    assert accuracy["value"] == facts["accuracy"]["value"]
    assert f"{facts['accuracy']['k']} of {facts['accuracy']['n']}" in accuracy["name"]
    assert f"{facts['accuracy']['ci_low']:.3f} to" in accuracy["name"]
    assert "synthetic" in content["tags"]
    assert card.startswith("# Model card: SYNTHETIC")
    assert card.count(NOTICE) == 3
    assert f"--require-sha256 {identity}" in card
    config = json.loads((hub / "config.json").read_text())
    assert config["id2label"] == {"0": "healthy", "1": "blast"}
    assert config["identity"] == bundle_identity(run_folder / "model.alld") == identity


def test_a_run_without_a_test_of_this_model_gets_no_card(run_folder: Path, tmp_path: Path) -> None:
    """Not evaluated, or evaluated when it was another model: the line says what comes first."""
    run = shutil.copytree(run_folder, tmp_path / "run")
    facts = run / "evaluation" / "metrics.json"
    facts.write_text(facts.read_text().replace(bundle_identity(run / "model.alld"), "0" * 64))
    with pytest.raises(RunError, match="of another model, 0000"):
        export_hub(run)
    facts.write_text('{"model": []}')
    with pytest.raises(RunError, match="not what an evaluation writes"):
        export_hub(run)
    facts.unlink()
    with pytest.raises(RunError, match="not evaluated yet"):
        export_hub(run)
    assert not (run / "hub").exists()


def test_a_folder_with_other_files_is_not_replaced(run_folder: Path, tmp_path: Path) -> None:
    """An earlier export is; the run and the bundle are refused too."""
    run = shutil.copytree(run_folder, tmp_path / "run")
    assert export_hub(run) == export_hub(run)
    (run / "hub" / "mine.txt").touch()
    for place in (run / "hub", run, tmp_path, run / "model.alld", run / "model.alld" / "hub"):
        with pytest.raises(ConfigError, match="--out"):
            export_hub(run, place)
    assert (run / "hub" / "mine.txt").exists()


def test_a_required_identity_pins_the_file(
    alld: Callable[..., Answer], copied: Path, cells: list[Path]
) -> None:
    """The SHA-256 of the file is let through, that of its bundle is not."""
    words = ("predict", "--model", copied, cells[0], "--json", "--require-sha256")
    status, out, _ = alld(*words, sha256_hex(copied.read_bytes()))
    assert status == 0
    bundle = json.loads(out)["model"]["exported_from"]
    status, _, err = alld(*words, bundle)
    assert status == 2
    assert f"not the required {bundle}" in err


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (
            ("predict", "{cell}", "--model", "{model}", "--explain", "{maps}"),
            "without the gradients",
        ),
        (("predict", "{cell}", "--model", "{model}", "--device", "cuda"), "runs on the CPU"),
        (("evaluate", "{model}"), "knows neither its images nor their split"),
        (("export", "{model}"), "no model there"),
        (("export", "{bundle}", "--out", "{maps}"), "end it in .onnx"),
        (("export", "{bundle}", "--out", "{bundle}/x.onnx"), "inside a bundle"),
    ],
)
def test_what_an_export_cannot_do_is_said_in_one_line(
    alld: Callable[..., Answer],
    bundle: Path,
    exported: Path,
    cells: list[Path],
    tmp_path: Path,
    words: tuple[str, ...],
    reason: str,
) -> None:
    """Heat maps, other devices, a test, an export of an export, a place that would damage."""
    named = {"cell": cells[0], "model": exported, "maps": tmp_path / "maps", "bundle": bundle}
    status, out, err = alld(*(word.format(**named) for word in words))
    assert (status, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert reason in err


@pytest.mark.parametrize("library", ["onnx", "onnxruntime"])
def test_without_the_extra_the_one_line_says_how_to_get_it(
    bundle: Path, exported: Path, monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    """Neither library comes with ALLD itself; predictions and the export need them."""
    monkeypatch.setitem(sys.modules, library, None)
    for work in (Predictor.load, lambda _: export.export_onnx(bundle)):
        with pytest.raises(ConfigError, match=rf"needs {library}: pip install onnx onnxscript "):
            work(exported)


def test_the_page_predicts_with_an_exported_model(exported: Path, cells: list[Path]) -> None:
    """Its name, rows as ever, and in place of a heat map the reason."""
    with running(exported) as site:
        assert site.ask("/model").json["name"] == "x.onnx"
        reply = site.predict(cells[0].read_bytes(), explain=1).json
    assert reply["verdict"] in VERDICTS
    assert "without the gradients" in reply["no_heat_map"]
