"""The models of a cross-validation as one: their mean, each with its own limits."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import yaml
from conftest import Answer
from hostile.exported import sealed_again
from numpy.typing import NDArray
from onnx import ModelProto
from serving import running
from torch import nn
from untrained import write_untrained

from alld.cells.facts import picture_facts
from alld.data.preprocess import normalise, to_square
from alld.errors import BundleError, RunError
from alld.evaluation.export import export_hub, export_onnx
from alld.images.decode import decode, read_image_bytes
from alld.inference.prediction import OUT_OF_DOMAIN, Prediction
from alld.inference.predictor import Predictor
from alld.model.abstain import JointLimits, Limits, fit_limits
from alld.model.bundle import read_bundle, write_bundle
from alld.model.bundle_info import DomainLimits, UncertainBand
from alld.model.joint import joint_identity, joint_info
from alld.model.onnx.file import read_exported
from alld.model.torch_network import TorchNetwork
from alld.runs.folder import open_run

Rows = NDArray[np.float64]
FOLDS = 3
# From the mean of the first limits' validation images; the last refuse nearly nothing.
DEVIATIONS = (-1.0, 0.5, 50.0)


@pytest.fixture(scope="module")
def cells(drawn_set: Path) -> list[Path]:
    return sorted(drawn_set.glob("*.tif"))[:12]


@pytest.fixture(scope="module")
def folds(tmp_path_factory: pytest.TempPathFactory, drawn_set: Path) -> Path:
    """Three untrained models that differ, as a cross-validation would leave them. Read only.

    Each has a head, threshold, temperature, band and limits of its own.
    """
    folder = tmp_path_factory.mktemp("folds")
    plain = read_bundle(write_untrained(folder / "plain"))
    pixels = [decode(read_image_bytes(file), "").pixels for file in sorted(drawn_set.glob("*.tif"))]
    squares = [to_square(one, 32, "none") for one in pixels]
    images = normalise(np.stack(squares), plain.info.mean, plain.info.std)
    features, _ = TorchNetwork([plain.model], 32, "cpu").look(images, tta=False)
    facts = np.stack([picture_facts(square, 40) for square in squares])
    head = cast(nn.Linear, cast(nn.Sequential, plain.model[1])[-1])
    for fold, deviations in enumerate(DEVIATIONS, start=1):
        limits = fit_limits((features[:20], facts[:20]), (features[20:], facts[20:]), deviations)
        head.weight.data[1] += 0.1
        band = UncertainBand(low=0.1, high=0.3 * fold, how="tried") if fold < FOLDS else None
        own = DomainLimits(limit=limits.limit, deviations=2.5, images=20 + fold, reason=None)
        changed = {"threshold": 0.1 * fold, "temperature": fold, "uncertain": band, "limits": own}
        place = folder / "cv" / "repeat-1" / f"fold-{fold}" / "model.alld"
        place.parent.mkdir(parents=True)
        write_bundle(place, plain.model, plain.info.model_copy(update=changed), limits)
    return folder / "cv"


def probabilities(rows: list[Prediction]) -> list[float]:
    return [row.probability for row in rows if row.probability is not None]


@pytest.mark.parametrize("tta", [False, True])
def test_p_blast_is_the_mean_of_the_folds(folds: Path, cells: list[Path], tta: bool) -> None:
    """Each with its own temperature, also where eight orientations are averaged before it."""
    places = sorted(folds.glob("repeat-*/fold-*"))
    each = [Predictor.load(place, "cpu", tta=tta).predict(cells) for place in places]
    joint = Predictor.load(folds, "cpu", tta=tta)
    assert joint.members == len(places) == FOLDS
    found = joint.predict(cells)
    mean = np.mean([probabilities(rows) for rows in each], axis=0)
    assert np.ptp([probabilities(rows) for rows in each], axis=0).min() > 1e-3
    np.testing.assert_allclose(probabilities(found), mean, rtol=0, atol=1e-12)
    assert [row.threshold for row in found] == [pytest.approx(0.2)] * len(cells)


def test_the_facts_say_that_no_image_tested_the_mean(folds: Path) -> None:
    """The ends of the band are averaged; a fold without one counts its threshold as both."""
    info = Predictor.load(folds, "cpu").info
    band = info.uncertain
    assert band is not None
    assert band.low == pytest.approx((0.1 + 0.1 + 0.3) / 3)
    assert band.high == pytest.approx((0.3 + 0.6 + 0.3) / 3)
    assert info.temperature_fit.reason == "each of the 3 models has its own, 1.00, 2.00, 3.00"
    assert (info.validation, info.limits.images) == ({}, 21)
    assert "which no image has tested" in info.validation_note


@dataclass(frozen=True)
class _Fixed(Limits):
    """Limits that give every picture the same score."""

    score: float = 0.0

    def scores(self, features: NDArray[np.float32], facts: Rows) -> Rows:
        assert features.shape[1] == 2
        return np.full(len(facts), self.score)


def fixed(score: float) -> Limits:
    empty = np.zeros(0)
    return _Fixed(np.zeros((0, 2), np.float32), empty, empty, empty, empty, empty, 1.0, score)


@pytest.mark.parametrize(
    ("scores", "refused"),
    [
        ((2.0, 2.0, 0.0), True),
        ((2.0, 0.0, 0.0), False),
        ((99.0, None, 0.0), False),
        ((2.0, 2.0, 0.0, 0.0), False),
        ((2.0, 2.0, 2.0, None), True),
    ],
)
def test_most_models_must_refuse_a_picture(scores: tuple[float | None, ...], refused: bool) -> None:
    """Each by its own limits, whatever the others' scores; a half is not most."""
    members = tuple(None if score is None else fixed(score) for score in scores)
    joint = JointLimits(members)
    features = np.zeros((4, 2 * len(scores)), np.float32)
    found = joint.scores(features, np.zeros((4, 11)))
    assert (found > joint.limit).tolist() == [refused] * 4


def test_a_picture_is_out_of_domain_where_most_folds_say_so(folds: Path, cells: list[Path]) -> None:
    """Seen through the whole way, from the bundles of the folds to the verdict."""
    places = sorted(folds.glob("repeat-*/fold-*"))
    each = [Predictor.load(place, "cpu").predict(cells) for place in places]
    votes = np.sum([[row.verdict == OUT_OF_DOMAIN for row in rows] for rows in each], axis=0)
    found = Predictor.load(folds, "cpu").predict(cells)
    assert [row.verdict == OUT_OF_DOMAIN for row in found] == (votes >= 2).tolist()
    assert {1, 2} <= set(votes.tolist())
    assert all(row.reason for row in found if row.verdict == OUT_OF_DOMAIN)


def test_models_that_see_an_image_in_different_ways_have_no_mean(folds: Path) -> None:
    """The line says in what they differ."""
    infos = [read_bundle(place).info for place in sorted(folds.glob("*/*/model.alld"))]
    assert joint_info(folds, infos[:1]) is infos[0]
    other = infos[1].model_copy(update={"unsharp": "adaptive"})
    with pytest.raises(BundleError, match="its models differ in unsharp"):
        joint_info(folds, [infos[0], other])


def test_the_identity_names_every_model(
    alld: Callable[..., Answer], folds: Path, cells: list[Path]
) -> None:
    """In whatever order; rows name it, and `--require-sha256` pins it."""
    identity = Predictor.load(folds, "cpu").identity
    own = [read_bundle(place).identity for place in sorted(folds.glob("*/*/model.alld"))]
    assert identity == joint_identity(own[::-1]) != joint_identity(own[:2])
    words = ("predict", "--model", folds, cells[0], "--json", "--require-sha256")
    status, out, _ = alld(*words, identity)
    assert (status, json.loads(out)["model"]["members"]) == (0, FOLDS)
    status, _, err = alld(*words, own[0])
    assert (status, f"not the required {own[0]}" in err) == (2, True)


def test_a_heat_map_is_the_mean_of_the_folds(folds: Path) -> None:
    """Of their evidence for blast, in the units of the margin."""
    places = sorted(folds.glob("repeat-*/fold-*"))
    square = np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)
    loaded = [Predictor.load(place, "cpu") for place in (folds, *places)]
    joint, *each = [predictor.evidence([square]) for predictor in loaded]
    np.testing.assert_allclose(joint, np.mean(each, axis=0), atol=1e-5)
    assert not np.allclose(joint, each[0], atol=1e-4)


@pytest.fixture(scope="module")
def exported(folds: Path) -> Path:
    """The three models in one file. Read only."""
    return export_onnx(folds)[0]


def test_the_exported_mean_gives_the_same_rows(
    folds: Path, exported: Path, cells: list[Path]
) -> None:
    """One file with all models, each with its facts and limits."""
    assert exported == folds / "model.onnx"
    assert "(batch, 3 x 2)" in read_exported(exported).facts.output
    original, again = Predictor.load(folds, "cpu"), Predictor.load(exported)
    assert (again.exported_from, again.members) == (original.identity, FOLDS)
    assert again.info == original.info
    for row, other in zip(original.predict(cells), again.predict(cells), strict=True):
        assert row.probability == pytest.approx(other.probability, abs=1e-5)
        assert replace(row, model="", probability=0) == replace(other, model="", probability=0)


@pytest.mark.parametrize("kept", [1, 2])
def test_an_exported_mean_that_lost_a_model_is_refused(
    exported: Path, tmp_path: Path, kept: int
) -> None:
    """Also with a right hash: facts of fewer models than the network has."""
    place = Path(shutil.copy(exported, tmp_path))

    def drop(model: ModelProto) -> None:
        left = [e for e in model.metadata_props if not e.key[:1].isdigit() or int(e.key[0]) <= kept]
        del model.metadata_props[:]
        model.metadata_props.extend(left)

    sealed_again(drop)(place)
    with pytest.raises(BundleError, match=r"not 2 networks|not those of"):
        read_exported(place)


def test_a_cross_validation_predicts_when_all_its_folds_are_there(
    validated: Path, cells: list[Path], tmp_path: Path
) -> None:
    """With less, or with a damaged plan, the line says what to do."""
    assert Predictor.load(validated, "cpu").members == 4
    part = Path(shutil.copytree(validated, tmp_path / "cv"))
    shutil.rmtree(part / "repeat-2" / "fold-2" / "model.alld")
    with pytest.raises(BundleError, match=r"with 3 of 4 models; finish it with .*--resume"):
        Predictor.load(part)
    (part / "crossval.json").write_text("[]")
    with pytest.raises(BundleError, match=r"crossval\.json: damaged"):
        Predictor.load(part)
    with pytest.raises(RunError, match="a cross-validation, whose report is"):
        open_run(part)


def test_the_report_of_a_cross_validation_is_the_card_of_its_mean(
    validated: Path, cells: list[Path], tmp_path: Path
) -> None:
    """In the folder for the Hub, which predicts as the cross-validation does."""
    hub, identity, _ = export_hub(validated, tmp_path / "hub")
    _, metadata, card = (hub / "README.md").read_text().split("---\n", 2)
    [tested] = yaml.safe_load(metadata)["model-index"][0]["results"]
    assert "not by their mean" in tested["dataset"]["name"]
    assert f"--require-sha256 {identity}" in card
    assert "`repeat-2/fold-2/model.alld/`" in card
    assert f"Identity of the mean `{identity}`" in card
    rows = Predictor.load(validated, "cpu").predict(cells[:3])
    assert Predictor.load(hub, "cpu").predict(cells[:3]) == rows
    assert export_hub(validated, hub)[1] == identity


def test_a_cross_validation_is_served(folds: Path, cells: list[Path]) -> None:
    """With how many models it is the mean of."""
    with running(folds) as site:
        assert site.ask("/model").json["members"] == FOLDS
        row = site.predict(cells[0].read_bytes()).json
        expected = Predictor.load(folds, "cpu").predict([cells[0]])
        assert row["probability"] == pytest.approx(expected[0].probability, abs=1e-5)
