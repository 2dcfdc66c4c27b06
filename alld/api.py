"""Train, evaluate and load models from Python; `import alld` offers these functions."""

from pathlib import Path

from alld.config.schema import Config
from alld.evaluation import holdout as evaluation
from alld.evaluation.result import Result
from alld.inference.predictor import Predictor
from alld.runs.folder import Run
from alld.training import train as training


def train(config: Config, out: str | Path | None = None) -> Run:
    """Train one model and return its run.

    Args:
        out: the folder of the run; by default a new one in `runs/`.

    Raises:
        AlldError: the user must change something; the message says what.
    """
    return training.train(config, None if out is None else Path(out))


def evaluate(
    run: Run | str | Path,
    *,
    data: str | Path | None = None,
    prevalence: float | None = None,
    tta: bool | None = None,
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
    place = None if data is None else Path(data)
    return evaluation.evaluate(_folder(run), data=place, prevalence=prevalence, tta=tta)


def load(model: Run | str | Path, device: str = "auto", *, tta: bool | None = None) -> Predictor:
    """Load the model of a run, a run's folder, a `model.alld` or an exported `.onnx`.

    Raises:
        BundleError: no finished model there, or one that fails its hashes.
    """
    return Predictor.load(_folder(model), device, tta=tta)


def _folder(place: Run | str | Path) -> Path:
    return place.folder if isinstance(place, Run) else Path(place)
