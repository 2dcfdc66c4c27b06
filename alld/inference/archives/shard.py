"""One shard of an archive to one part on disk: plain data in, whoever calls and wherever."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import chdir
from functools import lru_cache
from pathlib import Path
from typing import TypedDict

from alld.errors import RunError
from alld.inference.archives.parts import Parts
from alld.inference.archives.tally import Tally
from alld.inference.prediction import COLUMNS, Prediction
from alld.inference.predictor import CPU_BATCH, Predictor
from alld.inference.rows import body

Told = Callable[[int], None]  # rows that were judged since the last call


class Asked(TypedDict):
    """What is asked of an archive: texts and numbers, to be sent anywhere as JSON."""

    model: str  # run or bundle, as `folder` sees it
    identity: str
    device: str
    tta: bool
    threads: int  # that judge batches side by side; the rows do not depend on it
    table: str  # csv, jsonl or parquet
    folder: str  # where relative names begin


class Job(Asked):
    """What all shards of one share."""

    parts: str  # folder of the parts
    plan: str  # SHA-256 of its plan


def judge_shard(job: Job, number: int, paths: Sequence[str], told: Told | None = None) -> None:
    """Judge the images of one shard and write its part; a file that cannot be read is a row.

    Raises:
        BundleError: another model lies there now.
        OSError: no place for the part.
    """
    with chdir(job["folder"]):
        # Every batch is computed by one thread, also one that is alone and would be given all:
        # then no row depends on how many threads there are.
        threads = 1 if len(paths) <= CPU_BATCH else job["threads"]
        predictor = _loaded(job["model"], job["device"], job["tta"], threads)
        if predictor.identity != job["identity"]:
            raise RunError(f"{job['model']}: another model lies there now; give the command again")
        tally = Tally.of_nothing()
        predictions = _telling(tally.counting(predictor.iterate(paths)), told)
        written = body(predictions, job["table"], COLUMNS)
        Parts(Path(job["parts"]), job["plan"]).write(number, written, tally)


def _telling(predictions: Iterable[Prediction], told: Told | None) -> Iterator[Prediction]:
    for prediction in predictions:
        yield prediction
        if told:
            told(1)


@lru_cache(maxsize=1)
def _loaded(model: str, device: str, tta: bool, threads: int) -> Predictor:
    """The model, kept for the next shard of this process."""
    return Predictor.load(model, device, tta=tta, threads=threads)
