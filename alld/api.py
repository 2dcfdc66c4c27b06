"""Train, test, compare and audit from Python; `import alld` offers these functions.

Those that take long show their progress in a notebook, and elsewhere with `progress=True`.
"""

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from alld import display
from alld.auditing import examine as auditing
from alld.auditing.examine import Audit
from alld.baselines.deep import unseen_features
from alld.config.schema import Config, DataConfig
from alld.evaluation import holdout as evaluation
from alld.evaluation.compare import compare as comparing
from alld.evaluation.compare.result import RunComparison
from alld.evaluation.crossval import train as validating
from alld.evaluation.result import Result
from alld.inference.predictor import Predictor
from alld.model.hub.address import is_address
from alld.model.hub.cache import fetch
from alld.runs.folder import Run
from alld.training import train as training

Place = str | Path


def train(config: Config, out: Place | None = None, *, progress: bool | None = None) -> Run:
    """Train one model and return its run.

    Args:
        out: the folder of the run; by default a new one in `runs/`.

    Raises:
        AlldError: the user must change something; the message says what.
    """
    with _training(progress) as listener:
        return training.train(config, _path(out), listener)


def crossval(
    config: Config,
    folds: int | None = None,
    repeats: int | None = None,
    out: Place | None = None,
    *,
    progress: bool | None = None,
) -> Result:
    """Train and test one model per fold, and return the pooled result.

    Args:
        folds: by default 5; with `split.kind` session as the set allows.
        repeats: of all folds, with other seeds; by default 1.
        out: the folder of the cross-validation; by default a new one in `runs/`.

    Raises:
        AlldError: the user must change something; the message says what.
    """
    with _training(progress) as listener:
        followed = validating.CrossvalListener(training=listener)
        return validating.crossval(config, folds, repeats, _path(out), followed)


def evaluate(
    run: Run | Place,
    *,
    data: Place | None = None,
    prevalence: float | None = None,
    tta: bool | None = None,
    progress: bool | None = None,
) -> Result:
    """Test a finished run on its held-out images and write `RUN/evaluation/`.

    Args:
        data: a folder or table of other labelled images, for an external validation below
            `RUN/external/`.
        prevalence: the expected share of blasts, in (0, 1), at which PPV and NPV are added.
        tta: whether to average the eight orientations of each image; by default as the model was
            calibrated.

    Raises:
        AlldError: no finished run there, or the run's images have changed.
    """
    with _steps(progress) as step:
        return evaluation.evaluate(
            _folder(run), step=step, data=_path(data), prevalence=prevalence, tta=tta
        )


def compare(*runs: Run | Place) -> RunComparison:
    """Compare two or more evaluated runs or cross-validations on the images all of them tested.

    Raises:
        AlldError: fewer than two runs, one that was not evaluated, or no image in common.
    """
    return comparing.compare([_folder(run) for run in runs])


def audit(data: Place, *, fields: Place | None = None, progress: bool | None = None) -> Audit:
    """Look for copies, wrong labels and confounding in a set of labelled images.

    Args:
        fields: a folder of whole fields, in which the images are sought.

    Raises:
        AlldError: no set there, or no field.
    """
    with _steps(progress) as step:
        return auditing.examine(
            DataConfig(root=Path(data)), step=step, fields=_path(fields), describe=unseen_features
        )


def load(model: Run | Place, device: str = "auto", *, tta: bool | None = None) -> Predictor:
    """Load the model of a run, a run's folder, a `model.alld` or an exported `.onnx`.

    Of a cross-validation's folder it is the mean of its models. `hf://owner/name` and
    `https://host/folder` are fetched into the user's cache; `@sha256:` and an identity pin them.

    Raises:
        BundleError: no finished model there, or one that fails its hashes.
    """
    if isinstance(model, str) and is_address(model):
        fetched = fetch(model)
        return Predictor.load(fetched.path, device, tta=tta, required=fetched.identity)
    return Predictor.load(_folder(model), device, tta=tta)


def _training(progress: bool | None) -> AbstractContextManager[training.Listener]:
    return display.training_progress() if _shown(progress) else nullcontext(training.Listener())


def _steps(progress: bool | None) -> AbstractContextManager[Callable[[str, int, int], None]]:
    return display.Steps() if _shown(progress) else nullcontext(lambda _step, _done, _total: None)


def _shown(progress: bool | None) -> bool:
    return "ipykernel" in sys.modules if progress is None else progress


def _path(place: Place | None) -> Path | None:
    return None if place is None else Path(place).expanduser()


def _folder(place: Run | Place) -> Path:
    return place.folder if isinstance(place, Run) else Path(place).expanduser()
