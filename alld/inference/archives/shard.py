"""Predict one shard of an archive into its part, in whichever process this is called."""

from collections.abc import Callable, Iterator
from contextlib import chdir
from dataclasses import dataclass
from functools import lru_cache

from alld.errors import RunError
from alld.inference.archives.parts import Parts
from alld.inference.inputs import Shard
from alld.inference.prediction import COLUMNS, Prediction, Tally
from alld.inference.predictor import CPU_BATCH, Predictor
from alld.inference.rows import body


@dataclass(frozen=True)
class Job:
    """What all shards of an archive share; every process and machine can be sent it."""

    model: str  # run, bundle or exported file, as seen from `folder`
    identity: str
    device: str
    tta: bool
    threads: int  # that predict batches side by side; the rows do not depend on it
    table: str  # csv, jsonl or parquet
    folder: str  # that relative names begin in


def predict_shard(
    job: Job, parts: Parts, shard: Shard, count: Callable[[], None] = lambda: None
) -> None:
    """Predict the images of one shard and write its part; an unreadable file becomes a row.

    `count` is called after each image.

    Raises:
        BundleError, RunError: there is no such model, or another one by now.
        OSError: the part cannot be written.
    """
    with chdir(job.folder):
        # A batch that is alone would be given all threads, and the rows would depend on them.
        threads = 1 if len(shard.paths) <= CPU_BATCH else job.threads
        predictor = _loaded(job.model, job.device, job.tta, threads)
        if predictor.identity != job.identity:
            raise RunError(f"{job.model}: is another model by now; give the command again")
        tally = Tally.empty()

        def counted() -> Iterator[Prediction]:
            for prediction in tally.counting(predictor.iterate(shard.paths)):
                yield prediction
                count()

        parts.write(shard.number, body(counted(), job.table, COLUMNS), tally)


@lru_cache(maxsize=1)
def _loaded(model: str, device: str, tta: bool, threads: int) -> Predictor:
    """Load the model, and keep it for the next shard of this process."""
    return Predictor.load(model, device, tta=tta, threads=threads)
