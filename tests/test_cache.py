"""What is computed once for a set is kept under its fingerprint, and checked when it is read."""

from pathlib import Path

import numpy as np
import pytest

from alld.auditing import background
from alld.auditing.background import background_auc
from alld.auditing.examine import Audit
from alld.data.cache import cache_file, read_cached, write_cached
from alld.stats.metrics import Metric


def measure(audited: Audit) -> tuple[Metric, int]:
    """What the background predicts, and how many images had to be read for it."""
    read: list[int] = []
    groups = audited.groups.of_image
    found = background_auc(audited.manifest, groups, lambda done, _total: read.append(done))
    return found, len(read)


@pytest.mark.parametrize("content", ["{", "[]", "[[1, 2]]", '{"a": 1}', "null", "[[0.0], null]"])
def test_the_features_of_an_audit_are_kept_and_made_anew_where_damaged(
    audited: Audit, content: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An evaluation reads no image; whatever else lies there, the number is the audit's."""
    assert measure(audited) == (audited.background, 0)
    kept = cache_file("background", audited.manifest.fingerprint, background.VERSION)
    vectors = iter([np.array(row) for row in read_cached(kept)])
    monkeypatch.setattr(background, "background_features", lambda _pixels: next(vectors))
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


def test_a_cache_that_cannot_be_written_costs_only_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The content is lost, and nothing is raised."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("ALLD_CACHE", str(tmp_path / "file"))
    file = cache_file("groups", "0" * 64, 1)
    write_cached(file, [1])
    assert read_cached(file) is None
