"""All parts of a table to the table, in their order."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from alld.inference import parquet
from alld.inference.archives.parts import Parts
from alld.inference.archives.tally import Tally
from alld.inference.prediction import COLUMNS
from alld.inference.rows import head
from alld.runtime.files import replacing


def merge(parts: Parts, count: int, table: str, out: Path) -> Tally:
    """Write `count` parts as one `csv`, `jsonl` or `parquet` file and add up what they say.

    It holds one part in memory. Raises RunError for a part that is damaged.
    """
    tally = Tally.of_nothing()
    with replacing(out) as beside, _opened(beside, table) as add:
        for number in range(count):
            body, found = parts.read(number)
            add(body)
            tally.add(found)
    return tally


@contextmanager
def _opened(path: Path, table: str) -> Iterator[Callable[[bytes], object]]:
    if table == "parquet":
        with parquet.parquet_file(path, COLUMNS) as add:
            yield lambda body: add(parquet.from_bytes(body))
        return
    with open(path, "wb") as file:
        file.write(head(table, COLUMNS))
        yield file.write
