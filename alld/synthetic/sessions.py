"""Photograph the fields of a drawn set in sessions, whose cameras differ as real ones do."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np

from alld.data.manifest import BLAST, Exposure
from alld.synthetic.plan import Recipe, Shot

CAMERAS = ("Drawn camera A", "Drawn camera B")
_BEGAN = datetime(2000, 1, 1, 9, 0)
_APART = timedelta(days=1)  # of the sessions' beginnings
_BETWEEN = timedelta(seconds=40)  # two fields


def in_sessions(
    shots: Sequence[Shot], recipe: Recipe, samples: Sequence[str] | None = None
) -> list[Shot]:
    """Return the shots with camera and time, and with colours and sharpness of their session.

    All fields of a sample are in one session; where `samples` does not name that of each shot,
    a field is a sample of its own.

    With `confound` 0 a sample is in any session, whatever its class; with 1 the first half of the
    sessions holds blasts alone and the second half healthy cells. Sessions take turns with two
    cameras; each has a white balance and a sharpness of its own.
    """
    rng = np.random.default_rng([recipe.seed, 0x5E55])
    half = recipe.sessions // 2
    balances = 1 + rng.normal(0, 0.05, (recipe.sessions, 3))
    blurs = rng.uniform(0.8, 1.6, recipe.sessions)
    session_of: dict[str, int] = {}
    moments: dict[str, datetime] = {}  # of each field
    taken = [0] * recipe.sessions
    found = []
    for shot, sample in zip(shots, samples or [shot.group for shot in shots], strict=True):
        if sample not in session_of:
            told = rng.random() < recipe.confound
            first = shot.label == BLAST if told else rng.random() < 0.5
            session = int(rng.integers(half) if first else rng.integers(half, recipe.sessions))
            session_of[sample] = session
        session = session_of[sample]
        if shot.group not in moments:
            taken[session] += 1
            moments[shot.group] = _BEGAN + session * _APART + taken[session] * _BETWEEN
        balanced = np.array(shot.slide.background) * balances[session]
        red, green, blue = (float(v) for v in balanced.clip(0, 250))
        found.append(
            replace(
                shot,
                slide=replace(shot.slide, background=(red, green, blue)),
                light=replace(shot.light, blur=shot.light.blur * float(blurs[session])),
                exposure=Exposure(CAMERAS[session % 2], moments[shot.group]),
            )
        )
    return found
