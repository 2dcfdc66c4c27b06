"""fastai's Learner as every training here has it, and one phase of its schedule."""

from functools import partial

import fastai.callback.schedule  # noqa: F401 - gives Learner fit_one_cycle
import torch
from fastai.callback.core import Callback, TrainEvalCallback
from fastai.callback.fp16 import AMPMode, MixedPrecision
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from torch import nn

from alld.config.schema import Config
from alld.model.backbones import layer_groups
from alld.training.balance import make_loss
from alld.training.machine import precision
from alld.training.optimiser import FusedAdam
from alld.training.parallel import OneModel, divided
from alld.training.phases import Phase
from alld.training.ranks import size


def make_learner(model: nn.Sequential, loaders: DataLoaders, config: Config) -> Learner:
    """Loss, optimiser and layer groups of the recipe around a Sequential(Body, head)."""
    bf16 = precision(config, loaders.device) == "bf16"
    mixed = [MixedPrecision(AMPMode.BF16)] if bf16 else []
    model = divided(model, loaders.device)
    return Learner(
        loaders,
        model.to(loaders.device).to(memory_format=torch.channels_last),
        loss_func=make_loss(config.train.balance, loaders.train.targets, loaders.device),
        # beta 1 and 2 of the paper; fastai's schedule sets beta 1 (`mom`) anew at every batch.
        opt_func=partial(FusedAdam, mom=0.9, sqr_mom=0.99),
        splitter=layer_groups,
        wd=config.train.weight_decay,
        # fastai trains the batch norm of a frozen body; the paper's words freeze it.
        train_bn=config.train.recipe == "fine_tune",
        default_cbs=False,
        # fastai's Recorder stays out: it waits for the device at every batch; see Journal.
        cbs=[TrainEvalCallback(), *mixed, *([OneModel()] if size() > 1 else [])],
    )


def fit_phase(learner: Learner, phase: Phase, start: int, callbacks: list[Callback]) -> None:
    """Train one phase from its epoch `start` on, which counts from 0."""
    with learner.no_logging():
        learner.fit_one_cycle(
            phase.epochs,
            phase.lr_max,
            div=phase.div,
            pct_start=phase.pct_start,
            moms=phase.momentum,
            start_epoch=max(start, 0),
            cbs=callbacks,
        )
