"""Draw images, train on them, evaluate and predict: everything in minutes."""

import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from alld.config.files import load_config
from alld.errors import RunError
from alld.evaluation.holdout import evaluate
from alld.evaluation.result import Result
from alld.inference.prediction import Prediction
from alld.inference.predictor import Predictor
from alld.synthetic.dataset import draw_set
from alld.synthetic.plan import Recipe
from alld.training.train import Listener, train

IMAGES, RUN = "images", "run"


@dataclass(frozen=True)
class Demo:
    """The results of a demonstration, all of them SYNTHETIC."""

    folder: Path
    evaluation: Result
    predictions: list[Prediction]


def run_demo(folder: Path, seed: int = 0, listener: Listener | None = None) -> Demo:
    """Draw a set into `folder`, train the quick configuration on it, evaluate, predict 3 images.

    An earlier demonstration in `folder` is replaced.

    Raises:
        RunError: the folder contains something else.
    """
    listener = listener or Listener()
    _clear(folder)
    draw_set(folder / IMAGES, Recipe(seed=seed), partial(listener.step, "drawing cells"))
    config = load_config("quick", options={"data.root": folder / IMAGES, "seed": seed})
    run = train(config, folder / RUN, listener)
    evaluation = evaluate(run.folder, step=listener.step)
    tested = [prediction.path for prediction in evaluation.predictions]
    chosen = (tested[0], tested[len(tested) // 2], tested[-1])
    return Demo(folder, evaluation, Predictor.load(run.folder).predict(chosen))


def _clear(folder: Path) -> None:
    if not folder.exists():
        return
    if {entry.name for entry in folder.iterdir()} - {IMAGES, RUN}:
        raise RunError(f"{folder}: not made by `alld demo` alone; move it away first")
    shutil.rmtree(folder)
