"""Compute the network of an exported model with onnxruntime, without torch."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from alld.errors import BundleError, ConfigError
from alld.model.joint import join
from alld.model.network import ORIENTATIONS, Features, Images, Logits, Model
from alld.model.onnx.file import INPUT, OUTPUTS, check_installed, read_exported
from alld.model.place import no_heat_map
from alld.runtime.files import one_line
from alld.runtime.threads import usable_cores

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

_SILENT = 4  # onnxruntime's severity of what ends the process


def load_exported(
    path: Path, device: str = "auto", threads: int | None = None, required: str | None = None
) -> Model:
    """Load the model of an exported file; see `alld.inference.load.load_model`."""
    if device not in ("auto", "cpu"):
        raise ConfigError(
            f"--device {device}: {path} is an exported model, which runs on the CPU; "
            "give the run that it came from"
        )
    check_installed(str(path), "onnx", "onnxruntime")
    found = read_exported(path, required)
    network = OnnxNetwork(str(path), found.data, threads, len(found.members))
    return join(path, found.members, found.identity, network, found.facts.bundle)


class OnnxNetwork:
    """The graph of an exported file on the CPU; a `Network`."""

    device = "cpu"

    def __init__(
        self, name: str, data: bytes, threads: int | None = None, members: int = 1
    ) -> None:
        """Raise BundleError, with `name` of the file, if onnxruntime rejects its bytes."""
        self._members = members
        self.threads = threads or usable_cores()
        self._name, self._data = name, data
        self._session = self._open(self.threads)
        self._alone: InferenceSession | None = None

    def look(self, images: Images, *, tta: bool) -> tuple[Features, Logits]:
        features, total = self._look(images)
        if not tta:
            return features, total
        for orientation in range(1, ORIENTATIONS):
            total = total + self._look(_turned(images, orientation))[1]
        return features, total / ORIENTATIONS

    def evidence(self, images: Images, *, tta: bool) -> NDArray[np.float32]:
        raise no_heat_map(self._name)

    @contextmanager
    def workers(self) -> Iterator[ThreadPoolExecutor]:
        # In this session every batch stays in the thread that submits it.
        pool = ThreadPoolExecutor(self.threads, "alld-predict")
        self._alone = self._session if self.threads == 1 else self._open(1)
        try:
            yield pool
        finally:
            pool.shutdown(cancel_futures=True)
            self._alone = None

    def _look(self, images: Images) -> tuple[Features, Logits]:
        session = self._alone or self._session
        run = partial(session.run, OUTPUTS, {INPUT: np.ascontiguousarray(images)})
        features, logits = _or_bundle_error(self._name, run)
        if (len(features), *logits.shape) != (len(images), len(images), 2 * self._members):
            raise BundleError(f"{self._name}: answers with {logits.shape} for {len(images)} images")
        return features, logits.astype(np.float64)

    def _open(self, threads: int) -> "InferenceSession":
        import onnxruntime

        onnxruntime.disable_telemetry_events()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = _SILENT
        # Idle threads sleep, as those of torch do: see `alld.runtime.process`.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        cpu = ["CPUExecutionProvider"]
        # A fallback would print words of the file on standard output.
        quiet = {"providers": cpu, "enable_fallback": 0}
        make = partial(onnxruntime.InferenceSession, self._data, options, **quiet)
        session: InferenceSession = _or_bundle_error(self._name, make)
        return session


def _or_bundle_error(name: str, work: Callable[[], Any]) -> Any:
    try:
        return work()
    except Exception as error:  # onnxruntime's errors have no base class
        reason = one_line(" ".join(str(error).split()))[:200]
        raise BundleError(f"{name}: onnxruntime cannot run it: {reason}") from error


def _turned(images: Images, orientation: int) -> Images:
    """Turn images as `alld.model.torch_network.turned` turns tensors."""
    quarters, mirrored = divmod(orientation, 2)
    view = np.rot90(images, quarters, axes=(2, 3))
    return view[..., ::-1] if mirrored else view
