"""Decide which class the name of a folder or a label means: one that was given, or a known one."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from alld.config.schema import DataConfig
from alld.data.manifest import BLAST, HEALTHY, LABEL_NAMES
from alld.errors import DataError

KNOWN = {
    **dict.fromkeys(
        ("blast", "blasts", "all", "lymphoblast", "lymphoblasts", "leukemia", "leukaemia"), BLAST
    ),
    **dict.fromkeys(("healthy", "hem", "normal"), HEALTHY),
}
_OPTIONS = ("--healthy", "--positive")  # by label


def compared(name: str) -> str:
    """Return a name as names are compared: without spaces around it, in lower case."""
    return name.strip().casefold()


@dataclass(frozen=True)
class ClassNames:
    """The names that a user gave to the classes of a set, beside those that are known.

    Given names come before known ones. If only one class was given, all other names mean the other
    class. Names `inherited` from a run's settings were given for another set: known names come
    before them, and they decide nothing unless the set has one of them.
    """

    positive: tuple[str, ...] = ()
    healthy: tuple[str, ...] = ()
    inherited: bool = False

    @classmethod
    def of(cls, data: DataConfig, *, inherited: bool = False) -> "ClassNames":
        """Return the names that the settings give."""
        return cls(tuple(data.positive), tuple(data.healthy), inherited)

    @property
    def given(self) -> dict[str, int]:
        """The class of each given name, as names are compared."""
        return {
            **{compared(name): HEALTHY for name in self.healthy},
            **{compared(name): BLAST for name in self.positive},
        }

    def overrule(self, names: Iterable[str]) -> bool:
        """Whether some of `names` were given for this very set."""
        return not self.inherited and any(compared(name) in self.given for name in names)

    def of_set(self, names: Collection[str], place: Path) -> "ClassNames":
        """Return the names that count in a set with these folders or labels.

        Raises:
            DataError: the set has no folder or label of a given name.
        """
        here = set(map(compared, names))
        if self.inherited:
            return self if here & self.given.keys() else ClassNames()
        for option, given in zip(_OPTIONS, (self.healthy, self.positive), strict=True):
            for name in given:
                if compared(name) not in here:
                    raise DataError(f"{option} {name}: no folder or label in {place} has that name")
        return self

    def label_of(self, names: Sequence[str]) -> int | None:
        """Return the class, 0 or 1, that the first telling one of `names` states, or None."""
        own = {**self.given, **KNOWN} if self.inherited else self.given or KNOWN
        found = next((own[name] for name in map(compared, names) if name in own), None)
        if found is not None or not self.given:
            return found
        if self.healthy and self.positive:
            return next((KNOWN[name] for name in map(compared, names) if name in KNOWN), None)
        return HEALTHY if self.positive else BLAST

    def warnings(self, labelled: Iterable[tuple[str, int]]) -> tuple[str, ...]:
        """Return a warning that lists the names which were not given, but counted as a class.

        Args:
            labelled: the names of the set, each with the class it was taken for.
        """
        if not self.given:
            return ()
        told = self.given if not self.inherited else {**self.given, **KNOWN}
        others: dict[int, set[str]] = {}
        for name, label in labelled:
            if compared(name) not in told:
                others.setdefault(label, set()).add(name.strip())
        source = self.said + (" (inherited from the run's settings)" if self.inherited else "")
        return tuple(
            f"{source}: counted as {LABEL_NAMES[label]}: {', '.join(sorted(names))}"
            for label, names in sorted(others.items())
        )

    @property
    def said(self) -> str:
        """The options that give these names."""
        given = [f"--positive {name}" for name in self.positive]
        return " ".join([*given, *(f"--healthy {name}" for name in self.healthy)])


def unknown_class(place: str, seen: str, names: ClassNames) -> DataError:
    """Return the error for a folder or label that means no class."""
    known = (
        ", ".join(sorted(name for name, own in KNOWN.items() if own == label))
        for label in (BLAST, HEALTHY)
    )
    blasts, healthy = known
    also = f" beside {names.said}" if names.given else ""
    return DataError(
        f"{place}: {seen} (blast: {blasts}; healthy: {healthy}); name the "
        f"one that is blast with --positive NAME, or healthy with --healthy NAME{also}"
    )
