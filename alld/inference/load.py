"""A trained model from its place on disk, through the one library that it needs."""

from pathlib import Path

from alld.model.network import Model
from alld.model.place import find_model, is_exported


def load_model(
    path: Path, device: str = "auto", threads: int | None = None, required: str | None = None
) -> Model:
    """Load the model of a run, a bundle or an exported file; only the library that it needs.

    Args:
        threads: to compute with on a CPU; by default one for each core.
        required: the identity that the model must have, 64 hexadecimal digits.

    Raises:
        BundleError: no finished model there, another one, or one that fails its hashes.
        ConfigError: a device that is not there, or a library that is not installed.
    """
    place = find_model(path)
    if is_exported(place):
        from alld.model.onnx.network import load_exported

        return load_exported(place, device, threads, required)
    from alld.model.torch_network import load_bundle

    return load_bundle(place, device, threads, required)
