"""The prediction for one image file, which is a row of every table, and a tally of many."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from alld.data.manifest import BLAST, HEALTHY, LABEL_NAMES
from alld.runtime.files import well_formed

COLUMNS = (
    "path", "sha256", "pixels_sha256", "verdict", "probability", "threshold", "model", "reason",
    "error",
)  # fmt: skip
EXPLAINED = (*COLUMNS, "heat_map")  # with `--explain`
UNCERTAIN, OUT_OF_DOMAIN = "uncertain", "out of domain"
FAILED = "failed"  # counted where a verdict would be
VERDICTS = (LABEL_NAMES[BLAST], LABEL_NAMES[HEALTHY], UNCERTAIN, OUT_OF_DOMAIN)


@dataclass(frozen=True)
class Prediction:
    """The prediction for one image file, or the `error` why there is none.

    `probability` is P(blast) after temperature, 0 to 1. `verdict` is one of VERDICTS, and `reason`
    explains one that is neither blast nor healthy. `model` is the identity of the bundle. `notes`
    are what decoding converted or found unusual. `heat_map` is the file of its picture, if any.
    """

    path: str
    sha256: str | None
    verdict: str | None
    probability: float | None
    threshold: float
    model: str
    reason: str | None = None
    error: str | None = None
    notes: tuple[str, ...] = ()
    pixels_sha256: str | None = None
    heat_map: str | None = None

    @property
    def call(self) -> str | None:
        """`blast` at or above the threshold, else `healthy`, also where the verdict abstains."""
        return None if self.probability is None else called(self.probability, self.threshold)

    def as_row(self, columns: Sequence[str] = COLUMNS) -> dict[str, str | float | None]:
        """Return the values of these columns, in their order.

        Bytes of a file name that are not UTF-8 are escaped: some readers of JSON reject them.
        """
        row = {column: getattr(self, column) for column in columns}
        return {**row, "path": well_formed(self.path)}


def called(probability: float, threshold: float) -> str:
    """Return `blast` where P(blast) is at or above the threshold, else `healthy`."""
    return LABEL_NAMES[BLAST if probability >= threshold else HEALTHY]


def shown(probability: float) -> str:
    """Return P(blast), a threshold or an end of the uncertain band to read: `0.5` or `> 0.999`."""
    if 0 < probability < 0.001 or 0.999 < probability < 1:
        return "< 0.001" if probability < 0.5 else "> 0.999"
    return f"{round(probability, 3):g}"


@dataclass(frozen=True)
class Tally:
    """How many images there are of each verdict, those without one as failed, and of each note."""

    verdicts: Counter[str]
    notes: Counter[str]

    @classmethod
    def empty(cls) -> "Tally":
        """Return a tally with a 0 for every verdict."""
        return cls(Counter(dict.fromkeys((*VERDICTS, FAILED), 0)), Counter())

    def counting(self, predictions: Iterable[Prediction]) -> Iterator[Prediction]:
        """Count predictions on their way."""
        for prediction in predictions:
            self.verdicts[prediction.verdict or FAILED] += 1
            self.notes.update(prediction.notes)
            yield prediction

    def add(self, other: "Tally") -> None:
        """Add the counts of another tally."""
        self.verdicts.update(other.verdicts)
        self.notes.update(other.notes)
