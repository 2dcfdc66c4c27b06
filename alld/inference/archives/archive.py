"""Predict a long list of images into one table, in shards that stay done.

Beside the table lies a folder of parts, one file for each shard that is done. A part depends on the
model and its images alone, so the table has the same bytes for any number of processes and after
any number of interruptions.
"""

import platform
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from alld.errors import ConfigError
from alld.inference.archives.engines import Job
from alld.inference.archives.parts import Parts, parts_of
from alld.inference.inputs import SHARD, Cut, Inputs, Shard
from alld.inference.prediction import COLUMNS, Tally
from alld.inference.predictor import CPU_BATCH, GPU_BATCH
from alld.inference.rows import opened
from alld.model.place import is_exported
from alld.runtime.files import replacing

Progress = Callable[[int, int, int], None]  # images done now, done before, and in all
# Predicts shards into parts, and reports again and again how many images of them are done.
Engine = Callable[[Job, Parts, Iterable[Shard], Callable[[int], None]], None]
# The versions of these libraries change the rows.
_VERSIONS = ("alld", "numpy", "pillow")
_OF_TORCH, _OF_ONNX = ("torch", "torchvision", "timm"), ("onnxruntime",)


def predict_archive(
    inputs: Inputs, out: Path, job: Job, engine: Engine, progress: Progress, size: int = SHARD
) -> Tally:
    """Predict all images that are not done yet, and write the table `out`.

    Args:
        engine: one of `alld.inference.archives.engines`.
        progress: called again and again; what it raises stops the work, which can be resumed.
        size: images of a shard, a multiple of every batch.

    Raises:
        DataError: a table of paths that cannot be read, or that changes meanwhile.
        RunError: there are parts of another job, another process works on this table, or a shard
            cannot be predicted.
    """
    if out.is_dir():
        raise ConfigError(f"--out {out}: is a folder; name a file")
    with finished_parts(inputs, out, job, engine, progress, size) as parts:
        tally = Tally.empty()
        with replacing(out) as beside, opened(beside, job.table, COLUMNS) as add:
            for body, found in parts():
                add(body)
                tally.add(found)
        return tally


@contextmanager
def finished_parts(
    inputs: Inputs, out: Path, job: Job, engine: Engine, progress: Progress, size: int
) -> Iterator[Callable[[], Iterator[tuple[bytes, Tally]]]]:
    """Do all shards that are not done yet, and yield a function that reads their parts in order.

    The parts are removed when the block ends well. Arguments and errors are those of
    `predict_archive`; beside `out` lies the folder of parts.
    """
    cut = Cut.of(inputs, size)
    shards = range(len(cut.digests))
    with parts_of(out, plan_of(cut, job)) as parts:
        missing = [number for number in shards if not parts.done(number)]
        before = cut.images - sum(map(cut.rows, missing))
        progress(0, before, cut.images)
        engine(job, parts, cut.shards(missing), lambda done: progress(done, before, cut.images))
        yield lambda: map(parts.read, shards)
        parts.remove(len(shards))


def plan_of(cut: Cut, job: Job) -> dict[str, Any]:
    """Return everything that can change the bytes of a part."""
    on_cpu = job.device == "cpu"
    versions = [*_VERSIONS, *(_OF_ONNX if is_exported(Path(job.model)) else _OF_TORCH)]
    if job.table == "parquet":
        versions.append("pyarrow")
    return {
        "format": job.table,
        "columns": list(COLUMNS),
        "model": job.identity,
        "tta": job.tta,
        "abstain": job.abstain,
        "list": cut.fingerprint,
        "images": cut.images,
        "folder": job.folder,
        "shard": cut.size,
        "batch": CPU_BATCH if on_cpu else GPU_BATCH,
        "device": job.device.partition(":")[0],
        "processor": _processor() if on_cpu else None,
        "versions": {name: metadata.version(name) for name in versions},
        **job.settings(),
    }


def _processor() -> str:
    """Return the processor's model, by which libraries choose their arithmetic."""
    with suppress(OSError):  # only Linux has this file
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
