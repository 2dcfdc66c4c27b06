"""Count the cells of each sample, and estimate its share of blasts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alld.errors import ConfigError, RunError
from alld.inference.predictor import Predictor
from alld.runtime.reading import read_json
from alld.screen.records import COUNTED, Field
from alld.stats.shares import corrected_share, share_of_blasts

_FILES = ("metrics.json", "evaluation/metrics.json")  # in a folder that is named
_BEST, _OTHER = ("kept_sensitivity", "kept_specificity"), ("sensitivity", "specificity")


@dataclass(frozen=True)
class ErrorRates:
    """Sensitivity and specificity of the model as k of n images, and where they were measured."""

    sensitivity: tuple[float, float]
    specificity: tuple[float, float]
    file: str
    title: str  # of the evaluation
    answered: bool  # measured on images with a verdict, as the share is

    def as_dict(self) -> dict[str, Any]:
        """Return the rates for JSON."""
        rates = {
            name: {"value": k / n, "k": k, "n": n}
            for name, (k, n) in zip(_OTHER, (self.sensitivity, self.specificity), strict=True)
        }
        return {**rates, "file": self.file, "title": self.title, "answered": self.answered}


def read_error_rates(place: Path, predictor: Predictor) -> ErrorRates:
    """Read the error rates of this model from the `metrics.json` of an evaluation.

    Args:
        place: that file, or the folder of the evaluation or of its run.

    Raises:
        RunError: there is none, or it is damaged.
        ConfigError: it is of another model, or has no images of a class.
    """
    file = next((one for name in _FILES if (one := place / name).is_file()), place)
    try:
        stored = read_json(file)
        identity, title = stored["model"]["identity"], str(stored["title"])
        kept, whole = stored["abstention"], stored["metrics"]
        answered = all(kept.get(name, {}).get("n") for name in _BEST)
        names, source = (_BEST, kept) if answered else (_OTHER, whole)
        rates = [_counts(source[name]) for name in names]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        seen = "holds no metrics.json" if place.is_dir() and file == place else reason
        raise RunError(
            f"--error-rates {place}: {seen}; name an evaluation that `alld evaluate` has written"
        ) from error
    if identity not in (predictor.identity, predictor.exported_from):
        raise ConfigError(
            f"--error-rates {file}: is of model {str(identity)[:12]}, and {predictor.path} is "
            f"{predictor.identity[:12]}; evaluate the model that screens"
        )
    if not all(n for _, n in rates):
        raise ConfigError(f"--error-rates {file}: has no images of one class; test it on both")
    return ErrorRates(rates[0], rates[1], str(file), title, answered)


def _counts(metric: Mapping[str, Any]) -> tuple[float, float]:
    """k and n; a mean over repeats has no k of its own."""
    n = int(metric["n"])
    k = metric["k"] if metric["k"] is not None else (metric["value"] or 0.0) * n
    if not 0 <= k <= n:
        raise ValueError(f"k is {k} and n is {n}")
    return k, n


def summarise(
    fields: Sequence[Field], samples: Sequence[str], rates: ErrorRates | None
) -> list[dict[str, Any]]:
    """Return the facts of each sample: its fields, counts of cells, and shares of blasts.

    `share` and `corrected` are entries as of a metric: value, k, n, interval and method.
    """
    of_sample: dict[str, list[Field]] = {}
    for field, sample in zip(fields, samples, strict=True):
        of_sample.setdefault(sample, []).append(field)
    return [_summary(sample, own, rates) for sample, own in of_sample.items()]


def _summary(sample: str, fields: Sequence[Field], rates: ErrorRates | None) -> dict[str, Any]:
    counts = [field.counts() for field in fields]
    blasts, judged = [c["blast"] for c in counts], [c["judged"] for c in counts]
    corrected = None
    if rates is not None:
        found = corrected_share(blasts, judged, rates.sensitivity, rates.specificity)
        corrected = found.as_dict()
    return {
        "sample": sample,
        "fields": len(fields),
        "failed": sum(field.error is not None for field in fields),
        **{name: sum(count[name] for count in counts) for name in COUNTED},
        "share": share_of_blasts(blasts, judged).as_dict(),
        "corrected": corrected,
    }
