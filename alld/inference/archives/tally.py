"""What many predictions add up to: verdicts, failures, and what decoding noted."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from alld.inference.prediction import VERDICTS, Prediction

FAILED = "failed"


@dataclass(frozen=True)
class Tally:
    """Images by verdict, those without one as failed, and by note."""

    verdicts: Counter[str]
    notes: Counter[str]

    @classmethod
    def of_nothing(cls) -> "Tally":
        """Every verdict has its place, also where it stays at 0."""
        return cls(Counter(dict.fromkeys((*VERDICTS, FAILED), 0)), Counter())

    def counting(self, predictions: Iterable[Prediction]) -> Iterator[Prediction]:
        """Pass predictions on and count them."""
        for prediction in predictions:
            self.verdicts[prediction.verdict or FAILED] += 1
            self.notes.update(prediction.notes)
            yield prediction

    def add(self, other: "Tally") -> None:
        """Count what another one has counted."""
        self.verdicts.update(other.verdicts)
        self.notes.update(other.notes)
