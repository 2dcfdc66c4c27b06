"""The trained model on disk: verified before it is parsed, never changed, never unpickled."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from alld.errors import BundleError
from alld.files import sha256_hex
from alld.model.bundle import INFO, SUMS, WEIGHTS, bundle_identity, read_bundle, read_info


@pytest.fixture
def bundle(run_folder: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(run_folder / "model.alld", tmp_path / "model.alld"))


def resum(bundle: Path) -> None:
    """Make SHA256SUMS right again after a change, as an attacker would."""
    names = (WEIGHTS, INFO)
    lines = [f"{sha256_hex((bundle / name).read_bytes())}  {name}\n" for name in sorted(names)]
    (bundle / SUMS).write_text("".join(lines))


def change_info(bundle: Path, **facts: object) -> None:
    info = json.loads((bundle / INFO).read_text())
    (bundle / INFO).write_text(json.dumps({**info, **facts}))
    resum(bundle)


def test_a_bundle_reads_back_as_it_was_written(run_folder: Path) -> None:
    """Facts, evaluation mode, and the SHA-256 of SHA256SUMS as identity."""
    bundle = read_bundle(run_folder / "model.alld")
    assert bundle.info.arch == "efficientnet_lite0"
    assert bundle.info.classes == ("healthy", "blast")
    assert (bundle.info.threshold, bundle.info.threshold_choice.how) == (0.5, "fixed at 0.5")
    assert 1 <= bundle.info.temperature <= 5
    assert bundle.info.temperature_fit.n == 6
    assert bundle.info.data.synthetic
    assert bundle.info.mean == bundle.info.std == (0.5, 0.5, 0.5)
    assert not bundle.model.training
    assert bundle.identity == sha256_hex((run_folder / "model.alld" / SUMS).read_bytes())
    assert bundle.identity == bundle_identity(run_folder / "model.alld")


def test_the_bundle_holds_the_weights_of_the_last_epoch(run_folder: Path) -> None:
    """select: last is the newest checkpoint's weights, to the bit."""
    from safetensors.torch import load_file

    last = load_file(run_folder / "checkpoints" / "epoch-003" / "weights.safetensors")
    saved = load_file(run_folder / "model.alld" / WEIGHTS)
    assert all(torch.equal(last[name], saved[name]) for name in last)


@pytest.mark.parametrize("name", [WEIGHTS, INFO, SUMS])
@pytest.mark.parametrize("where", [0.0, 0.5, 0.999])
def test_one_changed_bit_is_refused(bundle: Path, name: str, where: float) -> None:
    """Any flipped bit in any file stops the load, with the file's name."""
    data = bytearray((bundle / name).read_bytes())
    data[int(where * (len(data) - 1))] ^= 1
    (bundle / name).write_bytes(data)
    with pytest.raises(BundleError, match=name if name != SUMS else "SHA256SUMS|differs"):
        read_bundle(bundle)


def remove_weights(bundle: Path) -> None:
    (bundle / WEIGHTS).unlink()


def add_file(bundle: Path) -> None:
    (bundle / "extra.pkl").write_bytes(b"x")


def link_weights(bundle: Path) -> None:
    (bundle / WEIGHTS).rename(bundle.parent / "elsewhere")
    (bundle / WEIGHTS).symlink_to(bundle.parent / "elsewhere")


def swap_weights(bundle: Path) -> None:
    (bundle / WEIGHTS).write_bytes(b"\x80\x04not tensors")
    resum(bundle)


def lose_a_tensor(bundle: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(bundle / WEIGHTS)
    tensors.pop(next(iter(tensors)))
    save_file(tensors, bundle / WEIGHTS)
    resum(bundle)


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (remove_weights, "model.safetensors is missing"),
        (add_file, "extra.pkl does not belong there"),
        (link_weights, "not a regular file"),
        (swap_weights, "does not fit the model"),
        (lose_a_tensor, "does not fit the model"),
        (lambda b: change_info(b, arch="resnet51"), "resnet51"),
        (lambda b: change_info(b, arch="os.system"), "os.system"),
        (lambda b: change_info(b, classes=["blast", "healthy"]), "classes"),
        (lambda b: change_info(b, threshold=float("nan")), "alld.json"),
        (lambda b: change_info(b, threshold=1.5), "threshold"),
        (lambda b: change_info(b, temperature=0), "temperature"),
        (lambda b: change_info(b, surprise=1), "surprise"),
        (lambda b: change_info(b, schema_version=1), "schema version 1; this ALLD reads 2; train"),
        (lambda b: change_info(b, threshold_choice="fixed"), "threshold_choice"),
        (lambda b: change_info(b, temperature_fit={"n": 42}), "temperature_fit.ci_low"),
        (lambda b: change_info(b, resize="squash"), "resize"),
        (lambda b: (b / INFO).write_text("[]") and resum(b), "not the JSON of a bundle"),
        (shutil.rmtree, "no model bundle there"),
    ],
)
def test_a_bundle_that_lies_is_refused(
    bundle: Path, damage: Callable[[Path], object], named: str
) -> None:
    """Also with right hashes: unknown, missing, out of range or linked members, in one line."""
    damage(bundle)
    with pytest.raises(BundleError) as caught:
        read_bundle(bundle)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_facts_alone_are_verified_too(bundle: Path) -> None:
    """read_info refuses altered facts without reading the weights."""
    assert read_info(bundle).arch == "efficientnet_lite0"
    (bundle / INFO).write_text((bundle / INFO).read_text().replace("0.5", "0.4", 1))
    with pytest.raises(BundleError, match="SHA-256 differs"):
        read_info(bundle)
