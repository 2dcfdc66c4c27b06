"""Train one model with several processes that torchrun started, through DistributedDataParallel.

Process 0, the leader, writes and prints. In a process that is alone nothing is sent and every
function here returns its own value.
"""

import atexit
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from fastai.callback.core import Callback
from fastai.data.core import DataLoaders
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

from alld.config.schema import TrainConfig
from alld.errors import AlldError, ConfigError, RunError
from alld.runtime.launch import launched
from alld.training.batches import Batch, BatchSource

# The others may have to wait while one searches a large set for groups. This is no watchdog: the
# closed connections of a dead process are noticed at once, and torchrun ends the others.
_PATIENCE = timedelta(hours=12)
SHARED_STATISTICS = "statistics of the whole batch (SyncBatchNorm)"
LEADERS_STATISTICS = "statistics of each process's own images; those of process 0 are kept"


@contextmanager
def distributed() -> Iterator[None]:
    """Connect to the other processes of this training, if torchrun started any.

    Raises:
        RunError: they cannot be reached, or one of them is gone.
    """
    if launched().world_size > 1 and not dist.is_initialized():
        _connect()
    try:
        yield
    except RuntimeError as error:
        if lost(error):
            raise RunError("another process of this training is gone").from_all() from error
        raise


def _connect() -> None:
    cuda = torch.cuda.is_available()
    if cuda and launched().local_rank < torch.cuda.device_count():
        torch.cuda.set_device(launched().local_rank)
    try:
        # Objects and sums of the host go over gloo, also where gradients go over NCCL.
        backend = "cpu:gloo,cuda:nccl" if cuda else "gloo"
        dist.init_process_group(backend, timeout=_PATIENCE)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise RunError(f"the other processes cannot be reached: {reason}") from error
    atexit.register(dist.destroy_process_group)


def process_count() -> int:
    """Return how many processes train together; 1 if this one is alone."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def leads() -> bool:
    """Return whether this process writes and prints."""
    return process_count() == 1 or dist.get_rank() == 0


def gather(value: Any) -> list[Any]:
    """Return the values of all processes, in the order of their numbers."""
    values = [value] * process_count()
    if len(values) > 1:
        dist.all_gather_object(values, value)
    return values


def total(tensor: Tensor) -> Tensor:
    """Return the sum of a tensor over all processes; each gets the same bits."""
    if process_count() > 1:
        dist.all_reduce(tensor := tensor.clone())
    return tensor


@contextmanager
def together() -> Iterator[None]:
    """End all processes if the block fails in one of them; the leader names which one.

    Raises:
        AlldError: this process's own error, or a RunError about the first process that failed.
    """
    own: AlldError | None = None
    try:
        yield
    except AlldError as error:
        own = error
    errors = gather(None if own is None else str(own))
    for number, text in enumerate(errors):
        if text is not None:
            raise (own or RunError(f"process {number}: {text}")).from_all()


def agree(facts: Mapping[str, str], advice: str) -> None:
    """Compare facts that the weights depend on between the processes.

    Raises:
        RunError: one process has another value; all processes raise it.
    """
    first, *others = gather(facts)
    for number, other in enumerate(others, start=1):
        for name in facts:
            if other[name] != first[name]:
                beside = f"{other[name]}, not {first[name]}; {advice}"
                raise RunError(
                    f"process {number} has other {name} than process 0: {beside}"
                ).from_all()


def lost(error: BaseException) -> bool:
    """Return whether an error says that another process is gone."""
    if process_count() == 1 or not isinstance(error, RuntimeError):
        return False
    return isinstance(error, dist.DistError) or "gloo" in str(error).lower()


def shares(config: TrainConfig, device: torch.device) -> dict[str, Any] | None:
    """Return how the processes share the batches, for run.json; None for a process alone.

    Raises:
        ConfigError: a device that several processes cannot share, or a batch too small to divide.
    """
    count, here = process_count(), launched().local_world_size
    if count == 1:
        return None
    if device.type == "mps" or ":" in str(device):
        raise ConfigError(
            f"runtime.device: {count} processes cannot share {device}; use cuda (one each) or cpu"
        )
    if device.type == "cuda" and here > torch.cuda.device_count():
        raise ConfigError(
            f"runtime.device: {here} processes on a machine with {torch.cuda.device_count()} CUDA "
            "devices; start one for each"
        )
    if config.batch_size < 2 * count:
        raise ConfigError(
            f"train.batch_size: {config.batch_size} images are too few for {count} processes, as "
            f"batch norm needs two in each; start {config.batch_size // 2} processes at most"
        )
    return {
        "processes": count,
        "global_batch": config.batch_size,
        "batch_per_process": -(-config.batch_size // count),
        "max_lr": config.max_lr,
        "batch_norm": SHARED_STATISTICS if device.type == "cuda" else LEADERS_STATISTICS,
    }


def distribute(model: nn.Sequential, loaders: DataLoaders) -> tuple[nn.Sequential, list[Callback]]:
    """Return the model and the callbacks that train it in all processes; alone nothing changes."""
    if process_count() == 1:
        return model, []
    if loaders.device.type == "cuda":
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
    loaders.train.smallest = 2 * process_count()  # batch norm needs two images in each
    return model, [Distributed()]


@dataclass(frozen=True)
class OwnRows:
    """A `BatchSource` of every n-th image of a batch, from this process's number on."""

    source: BatchSource

    def batches(self, chosen: Iterable[Sequence[int]]) -> Iterator[Batch]:
        own = (batch[dist.get_rank() :: process_count()] for batch in chosen)
        return self.source.batches(images for images in own if images)


class Distributed(Callback):  # type: ignore[misc]
    """Train through DistributedDataParallel: all processes end each epoch with equal weights.

    Every process takes its own rows of each batch and its own random transforms. The model is
    wrapped anew in every epoch, so that a resumed epoch sums its gradients in the same order.
    """

    order = 54  # before the journal reads the loss and takes the epoch for done

    def before_fit(self) -> None:
        self.sources = [loader.sources for loader in self.dls]
        for loader in self.dls:
            loader.sources = [OwnRows(source) for source in loader.sources]

    def before_epoch(self) -> None:
        torch.manual_seed(torch.initial_seed() + dist.get_rank())

    def before_train(self) -> None:
        self.learn.model = DistributedDataParallel(self.model)

    def after_loss(self) -> None:
        if not self.training:
            return
        # DistributedDataParallel averages gradients over processes; rows may be unequally many.
        share = len(self.y) / self.dls.train.images_in(self.iter)
        self.learn.loss_grad = self.loss_grad * (share * process_count())
        self.learn.loss = total(self.loss.detach() * share)

    def after_train(self) -> None:
        self._unwrap()
        for buffer in self.model.buffers():
            dist.broadcast(buffer, 0)

    def after_validate(self) -> None:
        digest = hashlib.sha256()
        for tensor in self.model.state_dict().values():
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        kept = "the checkpoints of earlier epochs are kept"
        facts = {"weights": digest.hexdigest()[:16]}
        agree(facts, f"one of the machines computes otherwise; {kept}")

    def after_fit(self) -> None:
        self._unwrap()
        for loader, sources in zip(self.dls, self.sources, strict=True):
            loader.sources = sources

    def _unwrap(self) -> None:
        if isinstance(self.model, DistributedDataParallel):
            self.learn.model = self.model.module
