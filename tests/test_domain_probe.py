"""How well images of one class tell their domain: found where planted, not claimed elsewhere."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from alld.auditing.domain_probe import DomainProbe, balanced_accuracy, probe_domains
from alld.data.manifest import ImageRecord, Manifest


def manifest_of(domains: str, each: int = 24) -> Manifest:
    """So many blasts of each domain, which is a letter, and as many healthy cells of the first."""
    rows = [(domain, 1) for domain in domains for _ in range(each)]
    rows += [(domains[0], 0)] * each
    records = tuple(
        ImageRecord(f"{number}.tif", label, f"{number:064x}", domain=domain)
        for number, (domain, label) in enumerate(rows)
    )
    return Manifest(Path("set"), "table", records, synthetic=False, domains_source="column slide")


def probe(domains: str, seed: int, shift: float) -> DomainProbe:
    """The probe of blasts in groups of three, by features that move with the domain."""
    rng = np.random.default_rng(seed)

    def describe(part: Manifest) -> NDArray[np.float32]:
        moved = [shift * "abcdef".index(record.domain or "") for record in part]
        noise = rng.standard_normal((len(part), 8))
        noise += np.array(moved)[:, None]
        return noise.astype(np.float32)

    manifest = manifest_of(domains)
    groups = [f"{number // 3}" for number in range(len(manifest))]
    [found] = probe_domains(manifest, groups, describe)
    return found


def test_a_planted_domain_is_told() -> None:
    """By images of a class that two slides hold; the other class has one slide, and no probe."""
    found = probe("ab", 0, 8.0)
    assert (found.label, found.domains, found.chance) == (1, ("a", "b"), 0.5)
    metric = found.balanced_accuracy
    assert metric.n == 48
    assert metric.value is not None
    assert metric.value > 0.95


def test_an_absent_difference_is_not_claimed() -> None:
    """The interval reaches down to chance in at least nine of ten draws."""
    lows = [probe("abc", seed, 0.0).balanced_accuracy.ci_low for seed in range(10)]
    assert sum(low is not None and low <= 1 / 3 for low in lows) >= 9


def test_groups_are_on_one_side_of_a_fold() -> None:
    """Features that tell the group, and nothing of the domain, do not tell the domain."""
    manifest = manifest_of("ab")
    groups = [f"{number // 4}" for number in range(len(manifest))]
    looks = np.random.default_rng(0).standard_normal((len(manifest), 64)).astype(np.float32)

    def describe(part: Manifest) -> NDArray[np.float32]:
        return np.stack([looks[int(groups[int(record.path[:-4])])] for record in part])

    [found] = probe_domains(manifest, groups, describe)
    assert found.balanced_accuracy.value is not None
    assert found.balanced_accuracy.value < 0.8  # split groups would give 1


def test_domains_of_few_groups_are_left_out() -> None:
    """Two groups cannot both train and be tested in three folds."""
    manifest = manifest_of("ab")
    groups = ["one" if record.domain == "b" else record.path for record in manifest]
    assert probe_domains(manifest, groups, lambda part: np.zeros((len(part), 2), np.float32)) == ()


def test_balanced_accuracy_counts_every_domain_once() -> None:
    """Three of four right in one domain, none in the other."""
    assert balanced_accuracy([0, 0, 0, 0, 1], [0, 0, 0, 1, 0]) == pytest.approx(0.375)
