"""The paper's Table 1, asked again: every system on identical splits, with intervals and tests.

Two protocols, as for Table 2: paper-shaped tests of 52 images, and grouped folds over all images.
Rivals that read fixed features are fitted here; those that are trained networks, and ALLD's own
models, are runs and cross-validations on disk.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import fmean

from alld.baselines.bench import Bench
from alld.baselines.scores import Judged, describe_set, judge
from alld.baselines.systems import BACKGROUND, Quote, Rival
from alld.evaluation.compare.compare import planned_pairs
from alld.evaluation.compare.result import Pair
from alld.evaluation.compare.tested import Outcome, Tested
from alld.evaluation.out_of_fold import (
    HeldOut,
    Spread,
    accuracy_of,
    metrics_of_repeat,
    pooled_metrics,
    training_spread,
)
from alld.stats.metrics import Metric

Note = Callable[[str], None]


@dataclass(frozen=True)
class System:
    """What one system gave: `repeats` are those of the grouped folds, by their number from 1.

    Seconds are means over the folds: of a training, and of judging one image, decoding left out.
    """

    name: str
    quote: Quote | None
    paper_shaped: tuple[float, ...]  # accuracy of each test; empty where none was made
    repeats: dict[int, tuple[HeldOut, ...]] = field(repr=False)
    training_seconds: float | None
    image_seconds: float | None
    draws: int = 2000

    @cached_property
    def metrics(self) -> dict[str, Metric]:
        """Means over the repeats; intervals by a bootstrap over groups."""
        return pooled_metrics(list(self.repeats.values()), self.draws)

    @cached_property
    def spread(self) -> dict[str, Spread]:
        """How far the metrics move between repeats."""
        return training_spread([metrics_of_repeat(r, self.draws) for r in self.repeats.values()])

    def tested(self) -> Tested:
        """Its out-of-fold verdicts, for paired tests."""
        rows = [row for repeat in self.repeats.values() for row in repeat]
        outcomes = {
            (str(row.repeat), row.sha256): Outcome(
                row.path, row.label, row.probability, row.verdict, row.group
            )
            for row in rows
        }
        return Tested(Path(self.name.replace("/", "-")), {}, outcomes, len(rows) - len(outcomes))


@dataclass(frozen=True)
class Table1:
    """All of it; `pairs` are those that were planned."""

    synthetic: bool
    data: str
    systems: tuple[System, ...]
    pairs: tuple[Pair, ...]
    unlike: tuple[str, ...] = ()  # conditions under which its networks were not trained alike


def judge_rival(
    rival: Rival, bench: Bench, folder: Path, repeats: int, seeds: int, note: Note
) -> System:
    """A rival on all splits; what `folder` holds of it already is not computed again."""
    name = rival.name(bench.config)
    note(f"{name}: features")
    described = describe_set(rival, bench)
    own = folder / rival.key
    found: list[Judged] = []
    rows: dict[int, list[HeldOut]] = {}
    paper_shaped = []
    for seed in range(seeds):
        split = bench.paper_shaped(seed)
        judged = judge(rival, described, bench, split, own / f"paper-seed-{seed}.json")
        paper_shaped.append(accuracy_of(bench.judged(split, judged.probabilities)))
    for repeat in range(1, repeats + 1):
        note(f"{name}: grouped folds, repeat {repeat} of {repeats}")
        rows[repeat] = []
        for fold, split in enumerate(bench.folds(repeat), start=1):
            file = own / f"repeat-{repeat}-fold-{fold}.json"
            found.append(judge(rival, described, bench, split, file))
            rows[repeat] += bench.judged(split, found[-1].probabilities, repeat, fold)
    return System(
        name=name,
        quote=rival.quote,
        paper_shaped=tuple(paper_shaped),
        repeats={repeat: tuple(judged) for repeat, judged in rows.items()},
        training_seconds=fmean(judged.training_seconds for judged in found),
        image_seconds=fmean(judged.image_seconds for judged in found),
        draws=bench.config.evaluate.bootstrap_draws,
    )


def make_table(
    systems: Sequence[System], bench: Bench, reference: str, unlike: tuple[str, ...] = ()
) -> Table1:
    """Compare every system with the reference, and with what the background alone gives.

    Pairs are tested on the repeats that both have; Holm's correction is over all of them.

    Args:
        systems: in the table's order, the background among them.
        reference: name of one of them.
        unlike: conditions under which its networks were not trained alike.
    """
    names = {system.name: system.tested() for system in systems}
    planned = [
        (names[name], names[other])
        for other in (reference, BACKGROUND.title)
        for name in names
        if name != other and (other, name) != (reference, BACKGROUND.title)
    ]
    draws = bench.config.evaluate.bootstrap_draws
    return Table1(
        synthetic=bench.manifest.synthetic,
        data=bench.manifest.kind,
        systems=tuple(systems),
        pairs=planned_pairs(planned, draws=draws),
        unlike=unlike,
    )
