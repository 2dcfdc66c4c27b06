"""What programs and the page are told, as JSON: the facts of a model, the row of a picture."""

from base64 import b64encode
from typing import TYPE_CHECKING, Any

from alld import NOTICE, __version__
from alld.inference.prediction import Prediction
from alld.runtime.files import spelt, well_formed

if TYPE_CHECKING:
    from alld.inference.predictor import Predictor


def model_facts(predictor: "Predictor") -> dict[str, Any]:
    """Everything that its bundle says of a model, and its name without the folders above it."""
    bundle = predictor.path
    folder = bundle.parent if bundle.name == "model.alld" else bundle
    return {
        "name": spelt(well_formed(folder.resolve().name)),
        "identity": predictor.identity,
        "synthetic": predictor.info.data.synthetic,
        **predictor.info.model_dump(mode="json"),
        "tta": predictor.tta,
        "notice": NOTICE,
        "alld": __version__,
    }


def answer(
    prediction: Prediction,
    synthetic: bool,
    preview: bytes = b"",
    heat_map: bytes = b"",
    no_heat_map: str = "",
) -> dict[str, Any]:
    """The row of a picture, what decoding did to it, and the PNGs that were asked for."""
    asked = {"preview": _as_url(preview), "heat_map": _as_url(heat_map), "no_heat_map": no_heat_map}
    return {
        **prediction.as_row(),
        "notes": list(prediction.notes),
        "synthetic": synthetic,
        "notice": NOTICE,
        **{name: value for name, value in asked.items() if value},
    }


def failed(predictor: "Predictor", name: str, sha256: str, error: str) -> dict[str, Any]:
    """The row of a file that is no picture, with the reason."""
    limits = (predictor.info.threshold, predictor.identity)
    row = Prediction(name, sha256, None, None, *limits, error=error)
    return answer(row, predictor.info.data.synthetic)


def _as_url(png: bytes) -> str:
    return f"data:image/png;base64,{b64encode(png).decode()}" if png else ""
