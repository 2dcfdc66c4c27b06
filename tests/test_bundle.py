"""The trained model on disk: verified before it is parsed, never changed, never unpickled."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import ARCH, Answer
from hostile.bundles import (
    LIES,
    Canary,
    assert_refused,
    bit_places,
    change_tensors,
    flip,
    negative_variances,
)
from hostile.places import PICTURE
from safetensors.torch import load_file
from untrained import write_untrained

from alld.errors import BundleError
from alld.model.bundle import SUMS, WEIGHTS, bundle_identity, read_bundle, read_info
from alld.model.bundle_info import INFO
from alld.runtime.files import sha256_hex

FLIPS = 60  # scripts/torture.py flips 1,000


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that no training made. Read only."""
    return write_untrained(
        tmp_path_factory.mktemp("untrained") / "model.alld", arch="timm:test_resnet"
    )


@pytest.fixture
def bundle(untrained: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(untrained, tmp_path / "model.alld"))


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """An image that can be predicted."""
    (tmp_path / "cell.png").write_bytes(PICTURE)
    return tmp_path / "cell.png"


def test_a_bundle_reads_back_as_it_was_written(run_folder: Path) -> None:
    """Facts, weights of the last epoch to the bit, and the SHA-256 of SHA256SUMS as identity."""
    bundle = read_bundle(run_folder / "model.alld")
    last = load_file(run_folder / "checkpoints" / "epoch-003" / "weights.safetensors")
    assert all(torch.equal(last[name], kept) for name, kept in bundle.model.state_dict().items())
    assert bundle.info.arch == ARCH
    assert bundle.info.classes == ("healthy", "blast")
    assert (bundle.info.threshold, bundle.info.threshold_choice.how) == (0.5, "default")
    assert 1 <= bundle.info.temperature <= 5
    assert bundle.info.temperature_fit.n == 6
    assert bundle.info.data.synthetic
    assert bundle.info.mean == bundle.info.std == (0.5, 0.5, 0.5)
    assert not bundle.model.training
    assert bundle.identity == sha256_hex((run_folder / "model.alld" / SUMS).read_bytes())
    assert bundle.identity == bundle_identity(run_folder / "model.alld")


def test_every_flipped_bit_is_refused(bundle: Path) -> None:
    """As many in each of the three files, the hashes among them; turned back, the bundle reads."""
    for member, bit in bit_places(bundle, FLIPS):
        flip(bundle / member, bit)
        with pytest.raises(BundleError) as caught:
            read_bundle(bundle)
        assert str(caught.value).isprintable()
        flip(bundle / member, bit)
    read_bundle(bundle)


@pytest.mark.parametrize("name", LIES)
def test_a_bundle_that_lies_is_refused(
    alld: Callable[..., Answer], bundle: Path, picture: Path, name: str
) -> None:
    """Also with right hashes: status 2, one line that says why, and nothing in it was run."""
    damage, named = LIES[name]
    damage(bundle)
    assert_refused(alld("predict", "--model", bundle, picture), named, bundle.parent)


def test_a_model_that_says_nan_gives_no_verdict(
    alld: Callable[..., Answer], bundle: Path, picture: Path
) -> None:
    """All its tensors are finite, and its logits are not: status 2 in every kind of table."""
    change_tensors(negative_variances)(bundle)
    for options in ((), ("--json",), ("--format", "csv")):
        status, out, err = alld("predict", "--model", bundle, *options, picture)
        assert status == 2
        assert "healthy" not in out
        assert "blast," not in out
        assert "gives NaN or infinity for a picture" in err.splitlines()[-1]


def test_the_pickle_of_these_tests_would_do_harm(tmp_path: Path) -> None:
    """Opened carelessly, it leaves its mark: the tests that look for the mark can fail."""
    torch.save({"x": Canary(tmp_path / "canary")}, tmp_path / "x.pth")
    torch.load(tmp_path / "x.pth", weights_only=False)
    assert (tmp_path / "canary").exists()


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ".safetensors"])
def test_initial_weights_are_read_as_tensors_and_nothing_else(
    alld: Callable[..., Answer], drawn_set: Path, tmp_path: Path, suffix: str
) -> None:
    """`--weights` with a pickle that would run code: status 2, one line, nothing run."""
    file = tmp_path / f"x{suffix}"
    torch.save({"x": Canary(tmp_path / "canary")}, file)
    words = ["--arch", "resnet18", "--out", tmp_path / "run", "--weights", file]
    status, _, err = alld("train", "--data", drawn_set, *words)
    assert status == 2
    assert str(file) in err.splitlines()[-1]
    assert "Traceback" not in err
    assert not (tmp_path / "canary").exists()


def test_a_required_identity_pins_the_model(
    alld: Callable[..., Answer], bundle: Path, picture: Path
) -> None:
    """The identity that every row names is accepted; another stops before the weights are read."""
    identity = bundle_identity(bundle)
    words = ("predict", "--model", bundle, "--json", picture, "--require-sha256")
    for pinned in (identity, identity.upper()):
        status, out, _ = alld(*words, pinned)
        assert status == 0
        answer = json.loads(out)
        assert answer["model"]["identity"] == identity
        assert [row["model"] for row in answer["predictions"]] == [identity]
    (bundle / WEIGHTS).write_bytes(b"")
    status, out, err = alld(*words, "0" * 64)
    assert (status, out) == (2, "")
    assert f"is model {identity}, not the required {'0' * 64}" in err


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("aee5946eb8fc", "12 hexadecimal digits"),
        ("", "0 hexadecimal digits"),
        ("a" * 63, "63 hexadecimal digits"),
        ("a" * 65, "65 hexadecimal digits"),
        ("a" * 63 + "g", "63 hexadecimal digits and 1 other letters"),
        (" " + "a" * 64, "64 hexadecimal digits and 1 other letters"),
    ],
)
def test_a_short_identity_pins_nothing_and_is_refused(
    alld: Callable[..., Answer], bundle: Path, picture: Path, text: str, seen: str
) -> None:
    """A beginning of an identity can be made by anyone in minutes: 64 digits, counted."""
    status, _, err = alld("predict", "--model", bundle, picture, "--require-sha256", text)
    assert status == 2
    assert f"has {seen}, and a model's identity has 64" in err


def test_the_facts_alone_are_verified_too(bundle: Path) -> None:
    """read_info refuses altered facts without reading the weights."""
    assert read_info(bundle).arch == "timm:test_resnet"
    (bundle / INFO).write_text((bundle / INFO).read_text().replace("0.5", "0.4", 1))
    with pytest.raises(BundleError, match="SHA-256 differs"):
        read_info(bundle)
