"""A long list of images to one table, in shards: what is done stays done, whatever is killed.

Beside the table grows a folder of parts, one for each shard, each written in one step. A part
depends on the model and its images alone, never on who judged it or when: so the table is the same,
byte for byte, for any number of workers and after any number of kills.
"""

import os
import platform
from collections.abc import Callable, Iterable
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from alld.errors import ConfigError
from alld.inference.archives.merge import merge
from alld.inference.archives.parts import parts_of
from alld.inference.archives.shard import Asked, Job, judge_shard
from alld.inference.archives.tally import Tally
from alld.inference.inputs import SHARD, Cut, Inputs, Shard
from alld.inference.prediction import COLUMNS
from alld.inference.predictor import CPU_BATCH, GPU_BATCH
from alld.model.place import is_exported

Told = Callable[[int, int, int], None]  # rows done now, rows that were there before, rows in all
# Judges shards; tells how many rows of them are judged so far.
Engine = Callable[[Job, Iterable[Shard], Callable[[int], None]], None]
# What changes the rows.
_VERSIONS = ("alld", "numpy", "pillow")
_OF_TORCH, _OF_ONNX = ("torch", "torchvision", "timm"), ("onnxruntime",)


def predict_archive(
    inputs: Inputs, out: Path, asked: Asked, engine: Engine, told: Told, size: int = SHARD
) -> Tally:
    """Judge all images that are not judged yet, and write `out`.

    Args:
        engine: who judges the shards: `judge_here`, or several processes.
        told: is called again and again; what it raises stops the work, to be gone on with.
        size: images of a shard, a multiple of every batch.

    Raises:
        DataError: a table of paths that cannot be read, or changes meanwhile.
        RunError: parts of another job lie there, another process is at work there, or a shard
            cannot be done.
    """
    if out.is_dir():
        raise ConfigError(f"--out {out}: is a folder; name a file")
    cut = Cut.of(inputs, size)
    with parts_of(out, plan_of(cut, asked)) as parts:
        missing = [number for number in range(len(cut.digests)) if not parts.done(number)]
        before = cut.images - sum(map(cut.rows, missing))
        told(0, before, cut.images)
        folder = os.path.abspath(parts.folder)
        job = Job(**asked, parts=folder, plan=parts.plan)
        engine(job, cut.shards(missing), lambda rows: told(rows, before, cut.images))
        tally = merge(parts, len(cut.digests), asked["table"], out)
        parts.remove(len(cut.digests))
        return tally


def judge_here(job: Job, shards: Iterable[Shard], told: Callable[[int], None]) -> None:
    """Judge shards in this process."""
    rows = 0

    def more(judged: int) -> None:
        nonlocal rows
        rows += judged
        told(rows)

    for shard in shards:
        judge_shard(job, shard.number, shard.paths, more)


def plan_of(cut: Cut, asked: Asked) -> dict[str, Any]:
    """Everything that changes the bytes of a part; who judges it does not."""
    on_cpu = asked["device"] == "cpu"
    versions = [*_VERSIONS, *(_OF_ONNX if is_exported(Path(asked["model"])) else _OF_TORCH)]
    if asked["table"] == "parquet":
        versions.append("pyarrow")
    return {
        "format": asked["table"],
        "columns": list(COLUMNS),
        "model": asked["identity"],
        "tta": asked["tta"],
        "list": cut.fingerprint,
        "images": cut.images,
        "folder": asked["folder"],
        "shard": cut.size,
        "batch": CPU_BATCH if on_cpu else GPU_BATCH,
        "device": asked["device"].partition(":")[0],
        "processor": _processor() if on_cpu else None,
        "versions": {name: metadata.version(name) for name in versions},
    }


def _processor() -> str:
    """Libraries choose their arithmetic by it."""
    with suppress(OSError):  # Linux alone has this file
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
