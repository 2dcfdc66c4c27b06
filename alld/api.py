"""What a notebook needs: train, evaluate, load. `import alld` offers these by their names."""

from pathlib import Path

from alld.config.schema import Config
from alld.evaluation import holdout as evaluation
from alld.evaluation.result import Result
from alld.inference.predictor import Predictor
from alld.runs.folder import Run
from alld.training import train as training


def train(config: Config, out: str | Path | None = None) -> Run:
    """Train one model; `out` is its folder, by default a new one under `runs/`.

    Raises:
        AlldError: something to mend, named in one line.
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

    With `data`, a folder or table of other images, it is an external validation and goes below
    `RUN/external/`. `prevalence` adds PPV and NPV at that share of blasts; `tta` judges each image
    in its eight orientations, or in one; by default as the model was calibrated.

    Raises:
        AlldError: no finished run there, or other images than those it was trained on.
    """
    place = None if data is None else Path(data)
    return evaluation.evaluate(_folder(run), data=place, prevalence=prevalence, tta=tta)


def load(model: Run | str | Path, device: str = "auto", *, tta: bool | None = None) -> Predictor:
    """A model that predicts: of a run, a run's folder, a `model.alld` or an exported `.onnx`.

    Raises:
        BundleError: no finished model there, or one that fails its hashes.
    """
    return Predictor.load(_folder(model), device, tta=tta)


def _folder(place: Run | str | Path) -> Path:
    return place.folder if isinstance(place, Run) else Path(place)
