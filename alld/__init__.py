"""ALLD tells leukaemic blasts from healthy cells on microscope images. Research use only.

run = alld.train(alld.load_config("quick", options={"data.root": "images"}))
print(alld.evaluate(run).metrics["accuracy"])
for prediction in alld.load(run).predict(["cell.tif"]):
    print(prediction.path, prediction.verdict, prediction.probability)
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alld.api import evaluate as evaluate
    from alld.api import load as load
    from alld.api import train as train
    from alld.config.files import load_config as load_config
    from alld.config.schema import Config as Config
    from alld.inference.predictor import Predictor as Predictor

__version__ = "0.2.0"
# Part of every output that could be mistaken for a medical one.
NOTICE = "For research. Not a medical device, not for diagnosis."
__all__ = ["Config", "Predictor", "evaluate", "load", "load_config", "train"]

_HOMES = {
    "Config": "alld.config.schema",
    "load_config": "alld.config.files",
    "train": "alld.api",
    "evaluate": "alld.api",
    "load": "alld.api",
    "Predictor": "alld.inference.predictor",
}


def __getattr__(name: str) -> Any:
    """Import a name of the public interface when it is first used: `import alld` stays light."""
    if name not in _HOMES:
        raise AttributeError(f"module 'alld' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
