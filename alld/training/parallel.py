"""One network trained by several processes: each does its rows of what one alone would do.

torch's DistributedDataParallel is not used: it arranges its sums anew after the first step, so that
three processes or more need not resume to the same bits, and takes all shares for equally large.
fastai's DistributedTrainer builds on it, needs CUDA for its loader, and shows images twice.
"""

import hashlib
from typing import Any

import torch
import torch.nn.functional as F
from fastai.callback.core import Callback
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from alld.config.schema import Config
from alld.errors import ConfigError
from alld.runtime.launch import launched
from alld.training.ranks import agree, rows, size, smallest_batch, total

EVERY_IMAGE = "statistics of the whole batch (SyncBatchNorm)"
OWN_IMAGES = "statistics of each process's own images; their means are kept"


def parallel_facts(config: Config, device: torch.device) -> dict[str, Any] | None:
    """What run.json says of a training by several processes; None of one alone.

    Raises:
        ConfigError: a device that several cannot share, or a batch too small to divide.
    """
    if size() == 1:
        return None
    train = config.train
    if device.type == "mps" or ":" in str(device):
        raise ConfigError(
            f"runtime.device: {size()} processes cannot share {device}; use cuda (one each) or cpu"
        )
    if device.type == "cuda" and launched().local_world_size > torch.cuda.device_count():
        raise ConfigError(
            f"runtime.device: {launched().local_world_size} processes on a machine with "
            f"{torch.cuda.device_count()} CUDA devices; start one for each"
        )
    if train.batch_size < smallest_batch():
        raise ConfigError(
            f"train.batch_size: {train.batch_size} images are too few for {size()} processes, as "
            f"batch norm needs two in each; start {train.batch_size // 2} processes at most"
        )
    return {
        "processes": size(),
        "global_batch": train.batch_size,
        "batch_per_process": -(-train.batch_size // size()),
        "max_lr": train.max_lr,
        "batch_norm": EVERY_IMAGE if device.type == "cuda" else OWN_IMAGES,
    }


def divided(model: nn.Sequential, device: torch.device) -> nn.Sequential:
    """The same network, ready for a share of each batch; parameters and their names stay."""
    if size() == 1:
        return model
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is nn.Dropout:
                setattr(module, name, DropoutOfRows(child.p))
    if device.type == "cuda":
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
    return model


class DropoutOfRows(nn.Dropout):
    """Draws for the whole batch, as one process would, and keeps the rows of this one."""

    images = 0  # of the whole batch

    def forward(self, values: Tensor) -> Tensor:
        """(rows, ...) to (rows, ...)."""
        if not self.training:
            return values
        kept = F.dropout(values.new_ones(self.images, *values.shape[1:]), self.p)
        return values * kept[rows(self.images)]


class OneModel(Callback):  # type: ignore[misc]
    """Keeps the networks of all processes one: gradients are summed, statistics averaged.

    The loss of a share weighs as much as its images, so that the sum of the gradients is that of
    the mean over the whole batch. All weights are compared before the first step of a phase and
    after every epoch.
    """

    order = 54  # before the journal takes the epoch for done

    def before_fit(self) -> None:
        _compare(self.model)

    def before_batch(self) -> None:
        if self.training:
            self.images = self.dls.train.images_of(self.iter)
            for module in self.model.modules():
                if isinstance(module, DropoutOfRows):
                    module.images = self.images

    def before_backward(self) -> None:
        self.learn.loss_grad = self.loss_grad * (len(self.y) / self.images)

    def after_backward(self) -> None:
        _sum([p.grad for p in self.model.parameters() if p.grad is not None])

    def after_train(self) -> None:
        # Frozen statistics stay as they are, to the bit.
        moved = [
            statistic
            for module in self.model.modules()
            if isinstance(module, _BatchNorm)
            and module.training
            and not isinstance(module, nn.SyncBatchNorm)  # they are the same everywhere already
            for statistic in (module.running_mean, module.running_var)
            if statistic is not None
        ]
        if moved:
            _sum(moved, share=1 / size())

    def after_validate(self) -> None:
        _compare(self.model)


def _sum(tensors: list[Tensor], share: float = 1.0) -> None:
    """Put the sum over all processes, times `share`, in the place of each tensor."""
    flat = total(torch.cat([tensor.reshape(-1) for tensor in tensors])).mul_(share)
    parts = torch.split(flat, [tensor.numel() for tensor in tensors])
    for tensor, part in zip(tensors, parts, strict=True):
        tensor.copy_(part.view(tensor.shape))


def _compare(model: nn.Module) -> None:
    """Raise RunError unless all processes have the same weights and statistics, to the bit."""
    digest = hashlib.sha256()
    for tensor in model.state_dict().values():
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    advice = "one of the machines computes otherwise; the checkpoints of earlier epochs are kept"
    agree("weights", digest.hexdigest()[:16], advice)
