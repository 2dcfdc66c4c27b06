"""Build fastai's Learner for the recipe, with a fused Adam, and fit it by the schedule."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import fastai.callback.schedule  # noqa: F401 - gives Learner fit_one_cycle
import torch
import torch.nn.functional as F
from fastai.callback.core import Callback, TrainEvalCallback
from fastai.callback.fp16 import AMPMode, MixedPrecision
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from fastai.optimizer import Optimizer
from torch import Tensor, nn
from torch.optim.adamw import adamw

from alld.config.schema import Config, TrainConfig
from alld.model.backbones import layer_groups
from alld.training.callbacks import EpochSeed, FrozenBody, Journal, Progress, StopOnSignal
from alld.training.checkpoints import Checkpoint, EpochRecord
from alld.training.distributed import distribute
from alld.training.phases import phases

# Of a fit that begins after so many epochs.
MakeCallbacks = Callable[[Learner, int], list[Callback]]
EPSILON = 1e-5  # fastai's; torch's own default is 1e-8


def make_learner(
    model: nn.Sequential, loaders: DataLoaders, config: TrainConfig, precision: str
) -> Learner:
    """Return a Learner with the recipe's loss, optimiser and layer groups.

    Args:
        model: a Sequential(Body, head).
        precision: "fp32" or "bf16".
    """
    mixed = [MixedPrecision(AMPMode.BF16)] if precision == "bf16" else []
    model, parallel = distribute(model, loaders)
    return Learner(
        loaders,
        model.to(loaders.device).to(memory_format=torch.channels_last),
        loss_func=make_loss(config.balance, loaders.train.targets, loaders.device),
        # beta 1 and 2 of the paper; fastai's schedule sets beta 1 (`mom`) anew at every batch.
        opt_func=partial(FusedAdam, mom=0.9, sqr_mom=0.99),
        splitter=layer_groups,
        wd=config.weight_decay,
        # fastai trains the batch norm of a frozen body; the paper's words freeze it.
        train_bn=config.recipe == "fine_tune",
        default_cbs=False,
        # fastai's Recorder stays out: it waits for the device at every batch; see Journal.
        cbs=[TrainEvalCallback(), *mixed, *parallel],
    )


def fit(
    learner: Learner,
    config: Config,
    history: list[EpochRecord],
    stop: StopOnSignal,
    notify: Callable[[Progress], None],
    tracker: MakeCallbacks = lambda _learner, _epochs: [],
    checkpoint: Checkpoint | None = None,
) -> bool:
    """Train the epochs of all phases that `history` lacks, and add them to it.

    Args:
        tracker: makes the callbacks of a tracker for each phase.
        checkpoint: has the optimiser's state after the last epoch of `history`.

    Returns:
        False if a signal has stopped it.
    """
    epochs = config.train.frozen_epochs + config.train.epochs
    for phase in phases(config.train):
        done = len(history) - phase.first_epoch  # epochs of this phase, from a checkpoint
        if done >= phase.epochs:
            continue
        learner.freeze() if phase.frozen else learner.unfreeze()
        if checkpoint and done > 0:
            checkpoint.restore_optimiser(learner.opt)
        still = [FrozenBody()] if phase.frozen and config.train.recipe == "paper" else []
        journal = Journal(phase, epochs, history, notify)
        tracked = tracker(learner, len(history))
        callbacks = [EpochSeed(config.seed, phase), journal, *still, *tracked, stop]
        with learner.no_logging():
            learner.fit_one_cycle(
                phase.epochs,
                phase.lr_max,
                div=phase.div,
                pct_start=phase.pct_start,
                moms=phase.momentum,
                start_epoch=max(done, 0),
                cbs=callbacks,
            )
        if stop.should_stop():
            return False
    return True


def make_loss(
    balance: str, labels: Sequence[int], device: torch.device
) -> Callable[[Tensor, Tensor], Tensor]:
    """Return a function of (B, 2) logits and (B,) labels to the mean loss of the batch.

    Args:
        balance: `train.balance`; with `weights` an image of class c, of C, weighs n / C n_c.
        labels: of the training images, 0 to C - 1, each present.
    """
    if balance != "weights":
        return nn.CrossEntropyLoss()
    counts = torch.bincount(torch.tensor(labels))
    weights = (len(labels) / (len(counts) * counts)).to(device)

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        # The mean over images, not over weights: batches with few of the rarer class count less.
        return F.cross_entropy(logits, labels, weight=weights, reduction="sum") / len(labels)

    return loss


class FusedAdam(Optimizer):  # type: ignore[misc]
    """fastai's Adam as one call for all parameters of a layer group.

    fastai's own steps parameter by parameter, and a GPU waits for Python. The arithmetic is the
    same: Adam (Kingma and Ba 2015) with decoupled weight decay (Loshchilov and Hutter 2019),
    epsilon outside the root, no decay of batch norm and biases. fastai's OptimWrapper around
    torch's AdamW cannot leave single parameters of a group without decay.
    """

    def __init__(
        self,
        groups: Iterable[Iterable[nn.Parameter]],
        lr: float,
        *,
        mom: float = 0.9,  # beta 1
        sqr_mom: float = 0.99,  # beta 2
        wd: float = 0.01,
    ) -> None:
        parameters = [list(group) for group in groups]
        super().__init__(parameters, [], lr=lr, mom=mom, sqr_mom=sqr_mom, wd=wd)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        """Update every parameter that has a gradient."""
        alike: dict[tuple[float, ...], list[nn.Parameter]] = {}
        for parameter, _, state, hyper in self.all_params(with_grad=True):
            decay = hyper["wd"] if state.get("do_wd", True) else 0.0
            settings = (hyper["lr"], hyper["mom"], hyper["sqr_mom"], decay)
            alike.setdefault(tuple(map(float, settings)), []).append(parameter)
        for (lr, beta1, beta2, decay), parameters in alike.items():
            states = [self._state(parameter) for parameter in parameters]
            adamw(
                list(parameters),
                [_gradient(parameter) for parameter in parameters],
                [state["grad_avg"] for state in states],
                [state["sqr_avg"] for state in states],
                [],
                [state["step"] for state in states],
                fused=True,
                amsgrad=False,
                beta1=beta1,
                beta2=beta2,
                lr=lr,
                weight_decay=decay,
                eps=EPSILON,
                maximize=False,
            )

    def zero_grad(self) -> None:
        """Drop the gradients; writing zeros into them would be one more pass over the weights."""
        for parameter, *_ in self.all_params():
            parameter.grad = None

    def _state(self, parameter: nn.Parameter) -> dict[str, Any]:
        state: dict[str, Any] = self.state[parameter]
        if "step" not in state:
            state["grad_avg"] = torch.zeros_like(parameter)
            state["sqr_avg"] = torch.zeros_like(parameter)
            state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
        return state


def _gradient(parameter: nn.Parameter) -> Tensor:
    """Return the gradient in the parameter's memory format: the fused step goes by addresses."""
    gradient = parameter.grad
    assert gradient is not None
    if gradient.stride() == parameter.stride():
        return gradient
    return torch.empty_like(parameter).copy_(gradient)
