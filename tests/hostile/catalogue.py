"""All hostile files, small ones and large ones."""

from hostile import bombs, damaged, honest_others, honest_tiff, lies, misread
from hostile.case import Case

MOST_SECONDS, MOST_MB = 5.0, 500.0  # what one file may cost, beyond the idle process


def small() -> list[Case]:
    """Those that are read within a millisecond or two each."""
    return [
        case
        for part in (honest_tiff, honest_others, damaged, lies, misread)
        for case in part.cases()
    ]


def large() -> list[Case]:
    """Those that could cost time or memory; making them costs some too."""
    return bombs.cases()
