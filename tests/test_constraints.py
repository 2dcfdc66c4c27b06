"""The pinned versions against what the project promises."""

import re
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

LINES = (Path(__file__).parents[1] / "constraints.txt").read_text().splitlines()
HERE = {re.sub("[_.]", "-", d.metadata["Name"].lower()) for d in metadata.distributions()}
# Some are needed on other systems only.
PINNED = [Requirement(x) for x in LINES if x and x[0] != "#" and x.split("==")[0].lower() in HERE]


@pytest.mark.parametrize("python", ["3.11.0", "3.12.0", "3.13.0"])
def test_every_pinned_version_runs_on_the_oldest_python(python: str) -> None:
    """Debian 12 has 3.11.2: a release for 3.11.5 and later ends its installation there."""
    refusing = [
        f"{pin} needs Python {needed}"
        for pin in PINNED
        if (needed := metadata.distribution(pin.name).metadata["Requires-Python"])
        and not Requirement(f"python{needed}").specifier.contains(python)
    ]
    assert not refusing


def test_what_is_installed_is_what_is_pinned() -> None:
    """These tests speak for the versions of constraints.txt."""
    assert len(PINNED) > 60
    other = [str(pin) for pin in PINNED if metadata.version(pin.name) not in pin.specifier]
    assert not other
