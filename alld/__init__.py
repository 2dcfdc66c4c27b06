"""ALLD tells leukaemic blasts from healthy cells on microscope images. Research use only.

run = alld.train(alld.load_config("quick", options={"data.root": "images"}))
print(alld.evaluate(run).metrics["accuracy"])
for prediction in alld.load(run).predict("cells/"):
    print(prediction.path, prediction.verdict, prediction.probability)

`pandas.DataFrame(predictions)` makes a table of predictions.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alld.api import audit as audit
    from alld.api import compare as compare
    from alld.api import crossval as crossval
    from alld.api import evaluate as evaluate
    from alld.api import load as load
    from alld.api import train as train
    from alld.config.files import load_config as load_config
    from alld.config.schema import Config as Config
    from alld.errors import AlldError as AlldError
    from alld.inference.prediction import Prediction as Prediction
    from alld.inference.predictor import Predictor as Predictor

__version__ = "0.2.0"
# Part of every output that could be mistaken for a medical one.
NOTICE = "For research. Not a medical device, not for diagnosis."
__all__ = [
    "AlldError",
    "Config",
    "Prediction",
    "Predictor",
    "audit",
    "compare",
    "crossval",
    "evaluate",
    "load",
    "load_config",
    "train",
]

_HOMES = {
    **dict.fromkeys(("audit", "compare", "crossval", "evaluate", "load", "train"), "alld.api"),
    "AlldError": "alld.errors",
    "Config": "alld.config.schema",
    "Prediction": "alld.inference.prediction",
    "Predictor": "alld.inference.predictor",
    "load_config": "alld.config.files",
}


def __dir__() -> list[str]:
    return [*__all__, "NOTICE", "__version__"]


def __getattr__(name: str) -> Any:
    """Import a name of the public interface when it is first used: `import alld` stays light."""
    if name not in _HOMES:
        raise AttributeError(f"module 'alld' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
