"""The paper's Table 2, asked again: the same shape of test many times, and folds that do not leak.

Two protocols for each network. *Paper-shaped*: 23 blasts and 29 healthy cells drawn at random as
the test, as the paper's one test set was, for many seeds. *Grouped*: five folds over all images
with same cells and overlapping crops on one side. Beside each network stands a linear probe on its
untouched features. A finished cell is a run on disk and is never computed twice.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from statistics import fmean, stdev
from typing import Any

import numpy as np
import torch

from alld.baselines.bench import Bench
from alld.baselines.probe import make_probe
from alld.config.schema import Config
from alld.data.groups.load import load_groups
from alld.data.manifest import Manifest
from alld.data.sources.find import load_manifest
from alld.evaluation.crossval.folds import read_plan, read_rows
from alld.evaluation.out_of_fold import HeldOut, accuracy_of, metrics_of_repeat, read_fold
from alld.model.backbones import create_model
from alld.paper.grid import Cell, check_cells, config_of, trainings_of, unlike
from alld.runtime.device import keep_freed_memory, resolve_device, set_threads
from alld.runtime.reading import read_json
from alld.stats.metrics import Metric
from alld.stats.significance import McNemar, holm, mcnemar_exact

# Accuracy of the paper's Table 2, of 52 test images: 49 and three times 51.
PAPER = {"vgg16": 49 / 52, "vgg19": 51 / 52, "resnet34": 51 / 52, "resnet50": 51 / 52}
PROBE = "linear probe"
STEP_IMAGES = 2  # of the step that is timed
TRAINING_IMAGES = 180  # of ALL-IDB2: 166, and 42 of validation at a third of the cost


@dataclass(frozen=True)
class Row:
    """One system of the table: what it gave on each paper-shaped test and on the folds."""

    name: str
    initial_weights: str
    paper: float | None  # accuracy that the paper prints for it
    accuracies: tuple[float, ...]  # one a seed
    grouped: dict[str, Metric]
    tested: tuple[HeldOut, ...] = field(repr=False)  # out-of-fold
    first: float = 0.0  # seeds at which it ranked first, ties shared

    @property
    def mean(self) -> float:
        return fmean(self.accuracies)

    @property
    def sd(self) -> float | None:
        return stdev(self.accuracies) if len(self.accuracies) > 1 else None

    @property
    def reached(self) -> float | None:
        """Share of seeds at or above the paper's value."""
        if self.paper is None:
            return None
        return fmean(accuracy >= self.paper - 1e-9 for accuracy in self.accuracies)


@dataclass(frozen=True)
class Pair:
    """Two systems on identical out-of-fold images."""

    first: str
    second: str
    test: McNemar
    holm: float  # p after Holm's correction over all pairs


@dataclass(frozen=True)
class Table2:
    """All of it."""

    synthetic: bool
    data: str
    seeds: int
    rows: tuple[Row, ...]
    pairs: tuple[Pair, ...]
    unlike: tuple[str, ...] = ()  # conditions under which its trainings differed


def estimate_seconds(arch: str, config: Config) -> float:
    """About how long one training takes here: a step on noise, times the images of all epochs."""
    device = resolve_device(config.runtime.device)
    keep_freed_memory()
    set_threads(config.runtime.threads)
    model = create_model(arch, pretrained=False).to(device).to(memory_format=torch.channels_last)
    side = config.data.image_size
    images = torch.randn(STEP_IMAGES, 3, side, side).to(device)
    images = images.contiguous(memory_format=torch.channels_last)
    for _ in range(2):  # the first step takes memory and threads from the system
        began = time.perf_counter()
        model(images).square().sum().backward()
        seconds = time.perf_counter() - began
    # A frozen epoch takes about a quarter of another.
    epochs = config.train.epochs + config.train.frozen_epochs / 4
    return seconds / STEP_IMAGES * TRAINING_IMAGES * epochs


def collect(
    cells: Sequence[Cell], config: Config, note: Callable[[str], None] = lambda _text: None
) -> Table2:
    """Read all cells back, add the probes, and compare.

    Raises:
        RunError: a cell is missing, or was made from other images or with other settings.
    """
    archs = list(dict.fromkeys(cell.arch for cell in cells))
    check_cells(cells, config)
    manifest = load_manifest(config.data)
    bench = Bench(manifest, load_groups(manifest, config.split.groups), config)
    rows = []
    for arch in archs:
        own = [cell for cell in cells if cell.arch == arch]
        rows.append(_network_row(arch, own, manifest, config))
        note(f"features of {arch} for the linear probe")
        rows.append(_probe_row(own, bench))
    ranked = _rank(rows)
    return Table2(
        synthetic=manifest.synthetic,
        data=manifest.kind,
        seeds=sum(cell.seed is not None for cell in cells) // len(archs),
        rows=tuple(ranked),
        pairs=tuple(_pairs(ranked)),
        unlike=unlike(trainings_of(cells)),
    )


def _network_row(arch: str, cells: Sequence[Cell], manifest: Manifest, config: Config) -> Row:
    accuracies = []
    for cell in cells:
        if cell.seed is not None:
            accuracies.append(accuracy_of(read_fold(cell.folder, 1, 1)))
    grouped = next(cell for cell in cells if cell.seed is None)
    tested = read_rows(read_plan(grouped.folder))
    return Row(
        name=arch,
        initial_weights=_initial_weights(grouped),
        paper=PAPER.get(arch),
        accuracies=tuple(accuracies),
        grouped=metrics_of_repeat(tested, config.evaluate.bootstrap_draws),
        tested=tuple(tested),
    )


def _probe_row(cells: Sequence[Cell], bench: Bench) -> Row:
    probe = make_probe(bench.manifest, config_of(cells[0], bench.config))
    seeds = [cell.seed for cell in cells if cell.seed is not None]
    tested = [
        row
        for fold, split in enumerate(bench.folds(repeat=1), start=1)
        for row in bench.judged(split, probe.judge(split), 1, fold)
    ]
    splits = map(bench.paper_shaped, seeds)
    return Row(
        name=f"{PROBE}, {cells[0].arch}",
        initial_weights=_initial_weights(cells[-1]),
        paper=None,
        accuracies=tuple(accuracy_of(bench.judged(split, probe.judge(split))) for split in splits),
        grouped=metrics_of_repeat(tested, bench.config.evaluate.bootstrap_draws),
        tested=tuple(tested),
    )


def _rank(rows: Sequence[Row]) -> list[Row]:
    """Add to each row at how many seeds it ranked first; a shared first place counts in parts."""
    table = np.array([row.accuracies for row in rows])  # (rows, seeds)
    best = np.isclose(table, table.max(axis=0))
    shares = (best / best.sum(axis=0)).sum(axis=1)
    return [replace(row, first=float(share)) for row, share in zip(rows, shares, strict=True)]


def _pairs(rows: Sequence[Row]) -> list[Pair]:
    """McNemar's test for every two rows on the out-of-fold verdicts, corrected together."""
    tests = []
    for first, second in combinations(rows, 2):
        right = [{row.sha256 + row.path: row.verdict == row.label for row in r.tested} for r in
                 (first, second)]  # fmt: skip
        common = sorted(right[0].keys() & right[1].keys())
        test = mcnemar_exact([right[0][i] for i in common], [right[1][i] for i in common])
        tests.append((first.name, second.name, test))
    corrected = holm([test.p_value for *_, test in tests]) if tests else []
    return [Pair(*found, p) for found, p in zip(tests, corrected, strict=True)]


def _initial_weights(grouped: Cell) -> str:
    facts: dict[str, Any] = read_json(grouped.folder / "evaluation" / "metrics.json")
    return str(facts["plan"]["initial_weights"])
