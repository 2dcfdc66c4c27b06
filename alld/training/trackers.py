"""TensorBoard or Weights & Biases beside a training, through fastai's own callbacks, if asked for.

Losses, accuracy, rates and settings go there: no weights, no images, no predictions, no names of
files. Nothing of either is imported without `runtime.log`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any
from uuid import uuid4

from fastai.callback.core import Callback
from fastai.learner import Learner, Recorder
from fastai.metrics import accuracy

from alld.config.schema import Config
from alld.errors import ConfigError
from alld.runs.folder import Run
from alld.runtime.files import one_line
from alld.training.ranks import leads

PROJECT = "alld"  # of Weights & Biases
# Of one fit: which begins after so many steps and so many epochs.
MakeCallbacks = Callable[[Learner, int], list[Callback]]


def check_tracker(config: Config) -> None:
    """Refuse a tracker that is not installed, before anything is done.

    Raises:
        ConfigError: with the command that installs it.
    """
    name = config.runtime.log
    if name != "none" and find_spec(name) is None:
        raise ConfigError(f"runtime.log: {name} is not installed: pip install {name}")


@contextmanager
def tracking(run: Run, config: Config) -> Iterator[MakeCallbacks]:
    """What makes a fit of this run tracked, for as long as the block lasts; by default nothing.

    Raises:
        ConfigError: Weights & Biases does not begin, for want of an account for example.
    """
    name = config.runtime.log
    if name == "none" or not leads():  # of several processes the first one speaks
        yield lambda _learner, _epochs: []
    elif name == "tensorboard":
        yield lambda learner, epochs: [*_recording(learner), _tensorboard(run, learner, epochs)]
    else:
        with _wandb_run(run, config):
            yield lambda learner, epochs: [*_recording(learner), _wandb(learner, epochs)]


def _recording(learner: Learner) -> list[Callback]:
    """What both trackers read from; else it stays out, as it waits for the device."""
    learner.metrics = [accuracy]
    return [Recorder()]


def _tensorboard(run: Run, learner: Learner, epochs: int) -> Callback:
    from fastai.callback.tensorboard import TensorBoardCallback

    first = epochs * len(learner.dls.train)

    class Board(TensorBoardCallback):  # type: ignore[misc]
        """Goes on counting where the phase, or the process, before it ended."""

        def before_fit(self) -> None:
            super().before_fit()
            self.learn.train_iter = first

    folder = str(run.folder / "tensorboard")
    return Board(log_dir=folder, trace_model=False, log_preds=False)


def _wandb(learner: Learner, epochs: int) -> Callback:
    from fastai.callback.wandb import WandbCallback

    first = epochs * len(learner.dls.train)
    # fastai would search all objects for settings and their folders; ours are those of the run.
    learner.gather_args = dict

    class Account(WandbCallback):  # type: ignore[misc]
        """Goes on counting where the phase, or the process, before it ended."""

        def before_fit(self) -> None:
            super().before_fit()
            self._wandb_step = max(self._wandb_step, first - 1)  # type: ignore[has-type]
            self._wandb_epoch = epochs

    return Account(log=None, log_preds=False, log_model=False, log_dataset=False)


@contextmanager
def _wandb_run(run: Run, config: Config) -> Iterator[None]:
    import wandb

    identity = run.info.get("tracked") or uuid4().hex[:12]
    run.update(tracked=identity)
    places = {"data": {"root"}, "split": {"groups"}, "model": {"weights"}}
    settings = config.model_dump(mode="json", exclude=places)
    fold = config.split.fold is not None
    try:
        begun = wandb.init(
            project=PROJECT,
            id=identity,
            resume="allow",
            name=run.folder.name,
            group=run.folder.parent.parent.name if fold else None,
            dir=str(run.folder),
            config={**settings, "synthetic": run.info["data"]["synthetic"]},
            settings=_settings(wandb),
        )
    except wandb.errors.Error as error:
        said = one_line(" ".join(str(error).split()))
        advice = "log in with `wandb login`, or set WANDB_MODE=offline"
        raise ConfigError(f"runtime.log: wandb does not begin ({said}); {advice}") from error
    ended = 1
    try:
        yield
        ended = 0
    finally:
        begun.finish(exit_code=ended)


def _settings(wandb: Any) -> Any:
    """Nothing of the machine, the code or the terminal, where names of files stand."""
    return wandb.Settings(
        console="off",
        disable_git=True,
        save_code=False,
        x_disable_meta=True,
        x_disable_stats=True,
        x_save_requirements=False,
    )
