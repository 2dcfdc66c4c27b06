"""Load a trained model from its place on disk, through the one library that it needs.

A file of its own, as neither torch nor onnxruntime is imported for a model of the other kind.
"""

from pathlib import Path

from alld.model.network import Model
from alld.model.place import find_bundles, is_exported


def load_model(
    path: Path, device: str = "auto", threads: int | None = None, required: str | None = None
) -> Model:
    """Load the model of a run, a cross-validation, a bundle or an exported file.

    See `Predictor.load`.
    """
    if is_exported(path):
        from alld.model.onnx.network import load_exported

        return load_exported(path, device, threads, required)
    from alld.model.torch_network import load_bundles

    return load_bundles(path, find_bundles(path), device, threads, required)
