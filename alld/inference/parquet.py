"""Predictions as Parquet: text and 64-bit numbers, a row group for each shard."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

from alld import NOTICE
from alld.errors import ConfigError
from alld.inference.prediction import Prediction

_NUMBERS = ("probability", "threshold")


def pyarrow() -> Any:
    """The library, which is an extra: few need it, and it takes 170 MB.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import pyarrow
    except ImportError as error:
        raise ConfigError("Parquet needs pyarrow: pip install 'alld[parquet]'") from error
    return pyarrow


def to_table(predictions: Iterable[Prediction], columns: Sequence[str]) -> Any:
    """An Arrow table of these rows."""
    arrow = pyarrow()
    rows = [prediction.as_row(columns) for prediction in predictions]
    return arrow.Table.from_pylist(rows, schema=_schema(columns))


def to_bytes(predictions: Iterable[Prediction], columns: Sequence[str]) -> bytes:
    """These rows as a Parquet file of their own; `from_bytes` reads it."""
    file = BytesIO()
    with _writer(file, columns) as add:
        add(to_table(predictions, columns))
    return file.getvalue()


def from_bytes(data: bytes) -> Any:
    """The Arrow table in a part."""
    from pyarrow.parquet import read_table

    return read_table(BytesIO(data))


@contextmanager
def parquet_file(path: Path, columns: Sequence[str]) -> Iterator[Callable[[Any], None]]:
    """Write a Parquet file; each Arrow table that is added becomes a row group."""
    with open(path, "wb") as file, _writer(file, columns) as add:
        yield add


@contextmanager
def _writer(file: Any, columns: Sequence[str]) -> Iterator[Callable[[Any], None]]:
    pyarrow()
    from pyarrow.parquet import ParquetWriter

    with ParquetWriter(file, _schema(columns)) as writer:
        yield writer.write_table


def _schema(columns: Sequence[str]) -> Any:
    arrow = pyarrow()
    kinds = {name: arrow.float64() if name in _NUMBERS else arrow.string() for name in columns}
    return arrow.schema(list(kinds.items()), metadata={"notice": NOTICE})
