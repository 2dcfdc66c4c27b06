"""What a section tried and found: a row of the closing table."""

from dataclasses import dataclass, field

HEAD = ("section", "tried", "right", "wrong", "worst seconds", "worst MB")


@dataclass
class Tally:
    """Counts of one section; `faults` says of each wrong one what was wrong."""

    section: str
    tried: int = 0
    faults: list[str] = field(default_factory=list)
    seconds: float = 0.0  # of the processor, for one file at most
    mb: float | None = None  # beyond the idle process; None where it was not measured

    def count(self, name: str, fault: str, seconds: float = 0.0, mb: float | None = None) -> None:
        """One thing tried; an empty fault is right. What is wrong is printed at once."""
        self.tried += 1
        self.seconds = max(self.seconds, seconds)
        self.mb = self.mb if mb is None else max(mb, self.mb or 0.0)
        if fault:
            self.faults.append(f"{name}: {fault}")
            print(f"WRONG {self.section}: {name}: {fault}", flush=True)

    def row(self) -> tuple[str, ...]:
        """The cells under `HEAD`."""
        wrong = len(self.faults)
        mb = "" if self.mb is None else f"{self.mb:.0f}"
        counts = (str(self.tried), str(self.tried - wrong), str(wrong))
        return (self.section, *counts, f"{self.seconds:.2f}", mb)


def markdown(tallies: list[Tally]) -> str:
    """The closing table."""
    rows = [HEAD, ("---",) * len(HEAD), *(tally.row() for tally in tallies)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
