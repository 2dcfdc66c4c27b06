"""How far an archive is, as a log says it."""

from collections.abc import Callable

import pytest

from alld.commands import pace
from alld.commands.pace import Pace


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the clock, in seconds."""
    now = 0.0

    def set_clock(seconds: float) -> None:
        nonlocal now
        now = seconds

    monkeypatch.setattr(pace.time, "monotonic", lambda: now)
    return set_clock


def test_rate_and_time_left_count_from_the_first_image(
    at: Callable[[float], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither what was there before nor the start of processes makes it slower or faster."""
    with Pace() as told:
        for seconds, now in [(0, 0), (10, 0), (20, 10), (25, 60), (40, 210), (50, 310)]:
            at(seconds)
            told(now, 1000, 1510)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "1000 of 1510 images are done already",
        "1210 of 1510 images, 10.0 images/s, 30 s left",  # one line in every half minute
    ]


def test_an_archive_that_is_done_soon_says_nothing(
    at: Callable[[float], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """No line below half a minute."""
    with Pace() as told:
        for seconds in range(29):
            at(seconds)
            told(seconds, 0, 100)
    assert capsys.readouterr().err == ""
