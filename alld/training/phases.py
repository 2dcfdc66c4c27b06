"""Describe the two recipes as data: which layers train, for how many epochs, at which rates."""

from dataclasses import dataclass

from alld.config.schema import TrainConfig

FROZEN, ALL_LAYERS = "frozen body", "all layers"


@dataclass(frozen=True)
class Phase:
    """One one-cycle of the schedule (Smith 2018), as fastai's `fit_one_cycle` takes it."""

    name: str
    epochs: int
    first_epoch: int  # epochs of the phases before this one
    lr_max: float | slice
    momentum: tuple[float, float, float]  # at the start, at the highest rate, at the end
    pct_start: float = 0.25  # share of the phase in which the rate rises
    div: float = 25.0  # highest rate / first rate

    @property
    def frozen(self) -> bool:
        """Whether only the head trains."""
        return self.name == FROZEN


def phases(config: TrainConfig) -> list[Phase]:
    """Return the phases of a recipe that have at least one epoch.

    `paper` follows the paper's words: both one-cycles reach `max_lr`, beta 1 stays at 0.9.
    `fine_tune` is what fastai's own `fine_tune` does: it halves the rate for the second phase,
    cycles the momentum, and warms up for nearly all of the first.
    """
    frozen, every, rate = config.frozen_epochs, config.epochs, config.max_lr
    if config.recipe == "paper":
        constant = (0.9, 0.9, 0.9)
        plan = [
            Phase(FROZEN, frozen, 0, rate, constant),
            Phase(ALL_LAYERS, every, frozen, slice(rate / config.lr_span, rate), constant),
        ]
    else:
        cycled, half = (0.95, 0.85, 0.95), rate / 2
        rates = slice(half / config.lr_span, half)
        plan = [
            Phase(FROZEN, frozen, 0, slice(rate), cycled, pct_start=0.99),
            Phase(ALL_LAYERS, every, frozen, rates, cycled, pct_start=0.3, div=5.0),
        ]
    return [phase for phase in plan if phase.epochs]
