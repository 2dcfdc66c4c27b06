"""The Python interface for notebooks."""

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import REPOSITORY
from PIL import Image

import alld
from alld.errors import RunError
from alld.inference.prediction import VERDICTS


def test_the_example_of_the_package_works(small_config: alld.Config, tmp_path: Path) -> None:
    """train, evaluate and load, as the package's docstring shows them."""
    config = small_config.model_copy(deep=True)
    config.train.frozen_epochs, config.train.epochs = 1, 0
    run = alld.train(config, tmp_path / "run")
    evaluation = alld.evaluate(run)
    assert evaluation.metrics["accuracy"].n == 8
    cell = evaluation.predictions[0]
    [prediction] = alld.load(run).predict(cell.path)
    assert prediction.verdict in VERDICTS
    assert prediction.probability == pytest.approx(cell.probability, abs=1e-5)
    assert alld.load(str(run.folder)).identity == prediction.model


def test_every_public_name_is_there_and_no_other() -> None:
    """`alld.__all__` can be imported; a misspelt name is an AttributeError."""
    assert all(getattr(alld, name) for name in alld.__all__)
    with pytest.raises(AttributeError, match="evalute"):
        _ = alld.evalute


def test_every_public_name_can_be_completed() -> None:
    """dir() lists them before their modules are imported."""
    assert set(alld.__all__) <= set(dir(alld))


@pytest.fixture(scope="module")
def model(untrained: Path) -> alld.Predictor:
    return alld.load(untrained, "cpu")


def pixels(path: Path) -> "np.ndarray[Any, Any]":
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def opened(path: Path) -> io.BytesIO:
    return io.BytesIO(path.read_bytes())


WAYS: dict[str, Callable[[Path], Any]] = {
    "path": Path,
    "string": str,
    "bytes": Path.read_bytes,
    "open file": opened,
    "PIL image": Image.open,
    "array": pixels,
    "list": lambda path: [str(path)],
    "generator": lambda path: iter([path.read_bytes()]),
    "array of several": lambda path: pixels(path)[None],
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_one_image_is_one_row_in_whatever_form(
    model: alld.Predictor, drawn_set: Path, way: Callable[[Path], Any]
) -> None:
    """The same picture has the same probability and the same hash of its pixels."""
    cell = drawn_set / "Im001_1.tif"
    [wanted] = model.predict([cell])
    [found] = model.predict(way(cell))
    assert found.error is None
    assert found.probability == wanted.probability
    assert found.pixels_sha256 == wanted.pixels_sha256


def test_folders_and_globs_become_their_files(model: alld.Predictor, drawn_set: Path) -> None:
    """Sorted, as the command lists them."""
    assert len(model.predict(drawn_set)) == 40
    assert [Path(row.path).name for row in model.predict(f"{drawn_set}/Im00[12]_1.tif")] == [
        "Im001_1.tif",
        "Im002_1.tif",
    ]


def test_a_pil_image_is_turned_as_its_exif_says(model: alld.Predictor, drawn_set: Path) -> None:
    """As the file would be; the conversions are noted."""
    image = Image.open(drawn_set / "Im001_1.tif").convert("RGB")
    exif = Image.Exif()
    exif[274] = 6
    file = io.BytesIO()
    image.save(file, "JPEG", exif=exif)
    [wanted] = model.predict(file.getvalue())
    [found] = model.predict(Image.open(file))
    assert found.probability == wanted.probability
    assert "EXIF orientation 6 applied" in found.notes


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (np.zeros((9, 9)), "an array of float64, shape (9, 9)"),
        (np.zeros((9, 9, 4), np.uint8), "give RGB as uint8 (H, W, 3)"),
        (Image.new("F", (9, 9)), "a PIL image of mode F; convert it to RGB"),
        (b"no image", "text, not a TIFF"),
    ],
)
def test_what_is_no_picture_is_a_row_with_its_reason(
    model: alld.Predictor, image: Any, reason: str
) -> None:
    """The others are classified all the same."""
    bad, good = model.predict([image, np.zeros((9, 9, 3), np.uint8)])
    assert reason in str(bad.error)
    assert good.error is None


def test_other_types_are_named(model: alld.Predictor) -> None:
    """A programming error is a TypeError."""
    with pytest.raises(TypeError, match="image 2: a int; give a path"):
        model.predict([b"", 3])  # type: ignore[list-item]


def test_predictions_make_a_table_in_one_line(model: alld.Predictor, drawn_set: Path) -> None:
    """A row each, with the columns of a prediction."""
    table = pd.DataFrame(model.predict(drawn_set))
    assert len(table) == 40
    assert {"path", "verdict", "probability", "pixels_sha256"} <= set(table.columns)


def test_the_api_audits_compares_and_validates(
    small_config: alld.Config, run_folder: Path, validated: Path, tmp_path: Path
) -> None:
    """As the commands do; a cross-validation is compared with a run."""
    assert alld.audit(small_config.data.root).manifest.synthetic
    config = small_config.model_copy(deep=True)
    config.train.frozen_epochs, config.train.epochs = 1, 0
    result = alld.crossval(config, folds=2, out=tmp_path / "cv")
    assert result.metrics["accuracy"].n == 40
    with pytest.raises(alld.AlldError, match="takes two runs or more"):
        alld.compare(run_folder)


def test_importing_the_package_imports_nothing_heavy() -> None:
    """Neither torch nor numpy."""
    code = "import alld, sys; dir(alld); print({'torch', 'numpy', 'fastai'} & sys.modules.keys())"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY
    )
    assert done.stdout == "set()\n"


def test_errors_reach_the_caller(tmp_path: Path) -> None:
    """The library raises; it neither prints nor exits."""
    with pytest.raises(RunError, match="no run there"):
        alld.evaluate(tmp_path)
