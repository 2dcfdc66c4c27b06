"""Draw images, train on them, evaluate, predict, and screen a drawn field: all in minutes."""

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
from alld.screen.screening import Screening, screen_here
from alld.screen.sources import read_fields
from alld.screen.summary import read_error_rates
from alld.synthetic.dataset import draw_set
from alld.synthetic.fields import draw_fields
from alld.synthetic.plan import Recipe
from alld.training.train import Listener, train

IMAGES, RUN, FIELDS, SCREEN = "images", "run", "fields", "screen"


@dataclass(frozen=True)
class Demo:
    """The results of a demonstration, all of them SYNTHETIC."""

    folder: Path
    evaluation: Result
    predictions: list[Prediction]
    screening: Screening


def run_demo(folder: Path, seed: int = 0, listener: Listener | None = None) -> Demo:
    """Draw a set into `folder`, train the quick configuration on it, evaluate, predict 3 images.

    Then draw a field and screen it, with the error rates of that evaluation.

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
    predictor = Predictor.load(run.folder)
    predictions = predictor.predict(chosen)
    draw_fields(folder / FIELDS, Recipe(n=1, seed=seed), partial(listener.step, "drawing a field"))
    fields = read_fields([str(folder / FIELDS)])
    rates = read_error_rates(run.folder, predictor)
    screening = screen_here(fields, folder / SCREEN, predictor, rates, listener.step)
    return Demo(folder, evaluation, predictions, screening)


def _clear(folder: Path) -> None:
    if not folder.exists():
        return
    if {entry.name for entry in folder.iterdir()} - {IMAGES, RUN, FIELDS, SCREEN}:
        raise RunError(f"{folder}: not made by `alld demo` alone; move it away first")
    shutil.rmtree(folder)
