"""What is computed once a set: kept under its fingerprint, and not believed when it is not ours."""

import json
from pathlib import Path

import pytest

from alld.audit import background
from alld.audit.background import background_auc
from alld.audit.examine import Audit, examine
from alld.config.schema import DataConfig
from alld.data.cache import cache_file, read_cached, write_cached
from alld.stats.metrics import Metric


@pytest.fixture(scope="module")
def audited(drawn_set: Path) -> Audit:
    """The audit of the 40 drawn images, which leaves their features in the cache. Read only."""
    return examine(DataConfig(root=drawn_set))


def measure(seen: Audit) -> tuple[Metric, int]:
    """What the background predicts, and how many images had to be read for it."""
    read: list[int] = []
    found = background_auc(
        seen.manifest, seen.groups.of_image, lambda done, _total: read.append(done)
    )
    return found, len(read)


def test_an_audit_saves_the_evaluation_its_reading(audited: Audit) -> None:
    """The features of the background come from the cache, and give the audit's own number."""
    assert measure(audited) == (audited.background, 0)


@pytest.mark.parametrize("content", ["{", "[]", "[[1, 2]]", '{"a": 1}', "null", "[[0.0], null]"])
def test_a_damaged_cache_is_made_anew(audited: Audit, content: str) -> None:
    """Whatever lies there: the images are read, and the number is the same."""
    kept = cache_file("background", audited.manifest.fingerprint, background.VERSION)
    kept.write_text(content)
    assert measure(audited) == (audited.background, 40)
    assert measure(audited) == (audited.background, 0)


def test_a_large_set_is_not_read_for_one_number(
    audited: Audit, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its background is undefined, with the command that measures it."""
    monkeypatch.setattr(background, "MOST_IMAGES", 39)
    monkeypatch.setenv("ALLD_CACHE", str(tmp_path))
    found, read = measure(audited)
    assert (found.value, read) == (None, 0)
    assert "reading all 40 images takes long; `alld audit` does it once" in str(found.reason)


def test_a_picture_that_is_no_cell_has_no_background(audited: Audit) -> None:
    """Beyond the size of a crop the features would take minutes."""
    pixels = audited.manifest.decode(0).pixels
    features = background.background_features(pixels)
    assert features is not None
    assert features.shape == (background.FEATURES,)
    large = pixels.repeat(6, axis=0)  # 1542 px
    assert background.background_features(large) is None


def test_a_cache_that_cannot_be_written_is_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It costs time, not the result."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("ALLD_CACHE", str(tmp_path / "file"))
    file = cache_file("groups", "0" * 64, 1)
    write_cached(file, json.loads("[1]"))
    assert read_cached(file) is None
