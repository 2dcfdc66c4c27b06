"""Predictions: a row for each input, and one definition of probability and verdict."""

import json
import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Answer
from numpy.typing import NDArray
from PIL import Image

from alld.config.schema import Config
from alld.data.manifest import BLAST
from alld.errors import BundleError
from alld.images.decode import decode, read_image_bytes
from alld.inference.inputs import expand, read_inputs
from alld.inference.prediction import called
from alld.inference.predictor import CPU_BATCH, Predictor
from alld.model.bundle import read_info
from alld.model.network import blast_probability
from alld.model.place import find_bundles
from alld.runtime.files import sha256_hex
from alld.training.train import train


@pytest.fixture(scope="module")
def predictor(run_folder: Path) -> Predictor:
    return Predictor.load(run_folder, "cpu")


def test_probability_is_the_softmax_at_the_temperature() -> None:
    """Against torch's softmax, also where a plain exp would overflow."""
    logits = np.array([[1.0, 2.0], [3.0, -1.0], [0.0, 0.0], [-900.0, 900.0], [900.0, -900.0]])
    for temperature in (1.0, 2.5):
        expected = torch.softmax(torch.tensor(logits) / temperature, dim=1)[:, BLAST]
        np.testing.assert_allclose(blast_probability(logits, temperature), expected, atol=1e-12)


def test_an_image_is_called_blast_at_the_threshold() -> None:
    """At or above 0.5 is blast, the number just below is healthy."""
    assert called(0.5, 0.5) == "blast"
    assert called(math.nextafter(0.5, 0), 0.5) == "healthy"


def test_an_images_probability_does_not_depend_on_its_company(
    predictor: Predictor, drawn_set: Path
) -> None:
    """Alone, in a batch of 40 or after a bad file: the same to 1e-5."""
    files = sorted(drawn_set.glob("*.tif"))
    together = {p.path: p.probability for p in predictor.predict(files)}
    mixed = predictor.predict([drawn_set / "missing.tif", *files[5:8]])
    assert mixed[0].error
    for prediction in [*predictor.predict([files[0]]), *mixed[1:]]:
        assert prediction.probability == pytest.approx(together[prediction.path], abs=1e-5)
    assert len(set(together.values())) > 20


def test_the_rows_do_not_depend_on_the_number_of_threads(
    run_folder: Path, drawn_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bitwise, in the order of the paths, a bad file among them; torch's own number is kept."""
    monkeypatch.setattr("alld.inference.predictor.CPU_BATCH", 7)
    paths = [*sorted(drawn_set.glob("*.tif"))[:30], drawn_set / "missing.tif"]
    found = []
    for threads in (1, 2, 3):
        found.append(Predictor.load(run_folder, "cpu", threads=threads).predict(paths))
        assert torch.get_num_threads() == threads
    torch.set_num_threads(2)
    assert found[0] == found[1] == found[2]
    assert [row.path for row in found[0]] == [str(path) for path in paths]


def test_rows_come_before_all_images_are_read(predictor: Predictor, drawn_set: Path) -> None:
    """For any number of paths, only some batches are read ahead."""
    taken = 0

    def endless() -> Iterator[Path]:
        nonlocal taken
        while True:
            taken += 1
            yield drawn_set / "Im001_1.tif"

    assert next(predictor.iterate(endless())).verdict
    assert taken <= CPU_BATCH * (predictor.threads + 4)


def test_every_input_is_a_row_in_its_place(predictor: Predictor, tmp_path: Path) -> None:
    """Text, empty files, folders and missing files are rows with reasons; nothing is raised."""
    (tmp_path / "text.tif").write_text("not an image")
    (tmp_path / "empty.tif").touch()
    (tmp_path / "folder.tif").mkdir()
    names = ["text.tif", "empty.tif", "folder.tif", "missing.tif"]
    rows = [p.as_row() for p in predictor.predict(tmp_path / name for name in names)]
    assert [Path(str(row["path"])).name for row in rows] == names
    for row in rows:
        assert row["error"]
        assert row["verdict"] is row["probability"] is None
        assert row["model"] == predictor.identity
    assert len(str(rows[0]["sha256"])) == 64
    assert rows[3]["sha256"] is None
    [prediction] = predictor.predict(expand([str(tmp_path / "folder.tif")]))
    assert "folder" in str(prediction.error)


def test_a_decoded_picture_has_the_row_of_its_file(predictor: Predictor, drawn_set: Path) -> None:
    """A picture that another process decoded gets the same row, with the promised columns."""
    file = drawn_set / "Im001_1.tif"
    data = read_image_bytes(file)
    row = predictor.predict_decoded(str(file), sha256_hex(data), decode(data, file.name))
    assert row == predictor.predict([file])[0]
    assert list(row.as_row()) == [
        "path", "sha256", "pixels_sha256", "verdict", "probability", "threshold", "model",
        "reason", "error",
    ]  # fmt: skip


def test_folders_and_globs_become_sorted_files_once_each(drawn_set: Path, tmp_path: Path) -> None:
    """A file named twice is one row; a folder gives its images only; what is not there stays."""
    (tmp_path / "b.png").touch()
    (tmp_path / "notes.txt").touch()
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.JPG").touch()
    (tmp_path / "odd[1].tif").touch()
    found = expand([str(tmp_path), str(tmp_path / "b.png"), str(tmp_path / "*.png")])
    names = [path.relative_to(tmp_path).as_posix() for path in found]
    assert names == ["b.png", "deep/a.JPG", "odd[1].tif"]
    assert expand([str(tmp_path / "odd[1].tif")]) == [tmp_path / "odd[1].tif"]
    assert expand([str(tmp_path / "notes.txt")]) == [tmp_path / "notes.txt"]
    assert expand([str(tmp_path / "*.bmp")]) == [tmp_path / "*.bmp"]


def test_a_glob_may_find_folders_and_lie_in_one_with_brackets(tmp_path: Path) -> None:
    """Images of folders that match are listed, and a folder's own brackets are no pattern."""
    for name in ("plate [1]/a.png", "plate [1]/deep/b.png", "plate 1/c.png", "plate [1]/d.heic"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert expand([str(tmp_path / "plate [1]" / "*.png")]) == [tmp_path / "plate [1]" / "a.png"]
    inputs = read_inputs([str(tmp_path / "plate*")])
    names = [path.relative_to(tmp_path).as_posix() for path in inputs]
    assert names == ["plate 1/c.png", "plate [1]/a.png", "plate [1]/deep/b.png"]
    assert inputs.left_out == "1 file not read: 1 .heic"


def test_a_run_without_a_model_says_how_to_finish_it(tmp_path: Path) -> None:
    """An interrupted run has no bundle yet."""
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(BundleError, match="--resume"):
        find_bundles(tmp_path)


@pytest.fixture(scope="module")
def tta(run_folder: Path) -> Predictor:
    return Predictor.load(run_folder, "cpu", tta=True)


@pytest.fixture(scope="module")
def picture(drawn_set: Path) -> NDArray[np.uint8]:
    """Of the network's own size: resampling is not the same to the last bit in all orientations."""
    with Image.open(drawn_set / "Im001_1.tif") as image:
        return np.asarray(image.convert("RGB").resize((32, 32)))


def orientations(picture: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    turned = [np.rot90(picture, quarters) for quarters in range(4)]
    return [np.ascontiguousarray(view) for one in turned for view in (one, one[:, ::-1])]


def logit(p: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.log(p) - np.log1p(-p)


def test_the_logits_of_eight_orientations_are_averaged(
    tta: Predictor, run_folder: Path, picture: NDArray[np.uint8]
) -> None:
    """All eight have the mean of eight pictures turned by hand, each predicted upright."""
    views = orientations(picture)
    assert len({view.tobytes() for view in views}) == 8
    alone = Predictor.load(run_folder, "cpu", tta=False).predict_pictures(views)
    assert np.ptp(alone) > 1e-3
    together = tta.predict_pictures(views)
    assert logit(together) == pytest.approx(logit(alone).mean(), abs=1e-5)
    assert np.ptp(together) < 1e-5


def test_a_model_calibrated_with_tta_is_used_with_it(
    small_config: Config, drawn_set: Path, tmp_path: Path, alld: Callable[..., Answer]
) -> None:
    """`model.tta` goes into the bundle; `predict` follows it, and --no-tta overrules it."""
    model = small_config.model.model_copy(update={"tta": True})
    fast = small_config.train.model_copy(update={"epochs": 0})
    run = train(small_config.model_copy(update={"model": model, "train": fast}), tmp_path / "run")
    assert read_info(run.bundle).tta

    def predicted(*words: str) -> tuple[bool, float]:
        image = drawn_set / "Im001_1.tif"
        status, out, _ = alld("predict", image, "--model", run.folder, "--json", *words)
        assert status == 0
        answer = json.loads(out)
        return answer["model"]["tta"], answer["predictions"][0]["probability"]

    averaged, single = predicted(), predicted("--no-tta")
    assert averaged == predicted("--tta")
    assert (averaged[0], single[0]) == (True, False)
    assert averaged[1] != single[1]


def test_an_evaluation_says_that_it_was_calibrated_otherwise(
    run_folder: Path, tmp_path: Path, alld: Callable[..., Answer]
) -> None:
    """--tta on a model whose temperature was fitted without it is reported."""
    copy = shutil.copytree(run_folder, tmp_path / "run")
    status, out, _ = alld("evaluate", copy, "--tta")
    assert status == 0
    assert "evaluated in eight orientations" in " ".join(out.split())
    facts = json.loads((copy / "evaluation" / "metrics.json").read_text())
    assert (facts["model"]["tta"], facts["model"]["calibrated_with_tta"]) == (True, False)
    assert "orientation" not in alld("evaluate", copy)[1]
