"""The cell's view: what it keeps, what it drops, and that every part of ALLD sees the same one."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SMALL
from drawn import draw_cell
from numpy.typing import NDArray

from alld.cells.facts import COLOURS, picture_facts
from alld.cells.view import BACKGROUND, CYTOPLASM, LIGHTEST, cell_view, seen
from alld.config.files import load_config
from alld.config.schema import Config
from alld.data.preprocess import to_square
from alld.data.sources.find import load_manifest
from alld.evaluation.export import export_onnx
from alld.inference.predictor import Predictor
from alld.model.architectures import LITE0, LITE0_EARLY
from alld.model.backbones import create_model
from alld.runs.machine import differences
from alld.training.batches import Canvas
from alld.training.train import train

Pixels = NDArray[np.uint8]
SIDE = 96


@pytest.fixture(scope="module")
def cell() -> Pixels:
    """A blast with grain in its nucleus."""
    rng = np.random.default_rng(0)
    return draw_cell(rng, blast=True, side=SIDE)


def _differing(one: Pixels, other: Pixels) -> float:
    """Return the share of pixels that differ by more than half a deviation of the grain."""
    return float((np.abs(one.astype(int) - other.astype(int)) > 10).mean())


def test_nucleus_cytoplasm_and_background_have_grey_levels_of_their_own(cell: Pixels) -> None:
    """The middle is dark, a ring around it has one grey, the corners are white, nothing black."""
    view = cell_view(cell)
    assert view.shape == cell.shape
    assert (view == view[:, :, :1]).all()
    assert 1 <= view[SIDE // 2, SIDE // 2, 0] <= LIGHTEST
    assert view[0, 0, 0] == BACKGROUND
    assert set(np.unique(view[view > LIGHTEST])) == {CYTOPLASM, BACKGROUND}
    assert (view == CYTOPLASM).mean() > 0.05
    assert view.min() >= 1


def test_the_light_of_the_lamp_changes_nothing(cell: Pixels) -> None:
    """Another brightness and white balance give nearly the same view."""
    other = np.clip(cell * np.array([0.8, 0.9, 0.75]), 0, 255).astype(np.uint8)
    assert _differing(cell, other) > 0.9
    assert _differing(cell_view(cell), cell_view(other)) < 0.03


def test_the_background_changes_nothing(cell: Pixels) -> None:
    """What lies far from the cell may be painted over."""
    other = cell.copy()
    other[:6], other[-6:] = 225, 225
    assert _differing(cell_view(cell), cell_view(other)) < 0.03


def test_an_image_without_stain_is_white() -> None:
    """No nucleus, no drawing."""
    assert (cell_view(np.full((SIDE, SIDE, 3), 220, np.uint8)) == BACKGROUND).all()


def test_facts_of_this_view_have_no_colours(cell: Pixels) -> None:
    """Another stain is no reason to refuse what the network cannot see; all other facts count."""
    plain, own = (picture_facts(cell, SIDE, view) for view in ("image", "cell"))
    assert (own[COLOURS] == 0).all()
    assert (plain[COLOURS] != 0).any()
    own[COLOURS] = plain[COLOURS]
    assert (own == plain).all()


def test_training_sees_what_prediction_sees(cell: Pixels) -> None:
    """Squares of training are redrawn at the network's size, not enlarged for random crops."""
    validation = Canvas(64, "none", "cell")
    training = Canvas(64, "none", "cell", common=64)
    assert (training.square(cell) == seen(to_square(cell, 64, "none"), "cell")).all()
    assert (training.square(cell) == validation.square(cell)).all()


def test_runs_from_before_there_was_a_view_can_be_resumed() -> None:
    """A setting that an older run lacks is compared by its default."""
    then, now = Config().model_dump(mode="json"), Config().model_dump(mode="json")
    del then["data"]["view"]
    assert differences({"config": then}, {"config": now}) == []
    now["data"]["view"] = "cell"
    assert differences({"config": then}, {"config": now}) == ["data.view: image then, cell now"]


def test_the_early_network_is_lite0s_first_five_stages() -> None:
    """Its features are those of the whole network's fifth stage, with the same weights."""
    whole, early = (create_model(arch, pretrained=True)[0].eval() for arch in (LITE0, LITE0_EARLY))
    found = []
    network = whole.get_submodule("network")
    network.get_submodule("blocks.4").register_forward_hook(lambda *a: found.append(a[2]))
    images = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        whole(images)
        assert torch.equal(early(images), found[0])


@pytest.fixture(scope="module")
def cell_run(drawn_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the cell's view. Read only."""
    own = {"data.root": drawn_set, "data.view": "cell", "data.image_size": 64, "train.epochs": 0}
    return train(load_config(options={**SMALL, **own}), tmp_path_factory.mktemp("v") / "r").folder


def test_the_model_remembers_its_view(cell_run: Path, run_folder: Path) -> None:
    """Its bundle says so, and one from before there was a choice means the image."""
    info = Predictor.load(cell_run, "cpu").info
    assert info.view == "cell"
    assert "redrawn" in info.preparation
    plain = Predictor.load(run_folder, "cpu").info
    assert "redrawn" not in plain.preparation
    older = json.dumps(plain.model_dump(exclude={"view"}, mode="json"))
    assert type(plain).model_validate_json(older) == plain


def test_prediction_redraws_what_training_redrew(cell_run: Path, drawn_set: Path) -> None:
    """A file, a picture and a square that was redrawn before get one answer."""
    predictor = Predictor.load(cell_run, "cpu")
    manifest = load_manifest(load_config(options={"data.root": drawn_set}).data)
    pixels = manifest.decode(0).pixels
    found = predictor.predict([manifest.file(0)])[0].probability
    assert found == pytest.approx(predictor.predict_pictures([pixels])[0], abs=1e-6)
    redrawn = cell_view(predictor.square(pixels))
    predictor.info = predictor.info.model_copy(update={"view": "image"})
    assert predictor.predict_pictures([redrawn])[0] == pytest.approx(found, abs=1e-6)
    assert predictor.predict_pictures([pixels])[0] != pytest.approx(found, abs=1e-6)


def test_an_exported_model_redraws_too(cell_run: Path, drawn_set: Path, tmp_path: Path) -> None:
    """The ONNX file carries the view among its facts, and ALLD answers from it as before."""
    exported, *_ = export_onnx(cell_run, tmp_path / "x.onnx")
    files = sorted(drawn_set.glob("*.tif"))[:4]
    rows = [Predictor.load(one, "cpu").predict(files) for one in (cell_run, exported)]
    for own, other in zip(*rows, strict=True):
        assert other.probability == pytest.approx(own.probability, abs=1e-4)
        assert other.verdict == own.verdict
