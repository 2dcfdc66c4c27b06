"""What a model says of one image file: the row of every table of predictions."""

from collections.abc import Sequence
from dataclasses import dataclass

from alld.data.manifest import BLAST, HEALTHY, LABEL_NAMES
from alld.runtime.files import well_formed

COLUMNS = ("path", "sha256", "verdict", "probability", "threshold", "model", "reason", "error")
EXPLAINED = (*COLUMNS, "heat_map")  # where pictures of the evidence were asked for
# Verdicts beside the names of the classes: a probability that says little, a picture of other kind.
UNCERTAIN, OUT_OF_DOMAIN = "uncertain", "out of domain"
VERDICTS = (LABEL_NAMES[BLAST], LABEL_NAMES[HEALTHY], UNCERTAIN, OUT_OF_DOMAIN)


@dataclass(frozen=True)
class Prediction:
    """What a model says of one image file.

    `probability` is P(blast) after temperature, 0 to 1; `verdict` is one of VERDICTS, and `reason`
    says why it is neither blast nor healthy. Either `error` says why there is none, or both are
    set. `model` is the identity of the bundle. `notes` are what decoding converted or found odd.
    `heat_map` is the file of the picture that shows where the evidence lies, if one was drawn.
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
    heat_map: str | None = None

    @property
    def call(self) -> str | None:
        """`blast` at or above the threshold, else `healthy`: what numbers of a test count."""
        return None if self.probability is None else called(self.probability, self.threshold)

    def as_row(self, columns: Sequence[str] = COLUMNS) -> dict[str, str | float | None]:
        """The columns that every table of predictions has, in their order, or those asked for.

        A name that is no UTF-8 has its odd bytes spelt out: not every reader of JSON takes them.
        """
        row = {column: getattr(self, column) for column in columns}
        return {**row, "path": well_formed(self.path)}


def called(probability: float, threshold: float) -> str:
    """`blast` where P(blast) is at or above the threshold, else `healthy`."""
    return LABEL_NAMES[BLAST if probability >= threshold else HEALTHY]
