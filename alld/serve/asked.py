"""What a request asks for: the parameters behind the question mark, each of them checked."""

import re
from dataclasses import dataclass

from starlette.datastructures import QueryParams

from alld.runtime.files import plain_path
from alld.serve.frames import MAX_PREVIEW_SIDE
from alld.serve.refused import Refused

MIN_PREVIEW_SIDE = 16  # px
MOST_LETTERS = 1000  # of a name
UNNAMED = "image"


@dataclass(frozen=True)
class Asked:
    """`name` as it stands in tables, `side` of the preview in px (0: none), a heat map or none."""

    name: str
    side: int
    explain: bool


def read_question(given: QueryParams) -> Asked:
    """The parameters of `/predict`: name=TEXT, preview=SIDE, explain=1.

    Raises:
        Refused: an unknown parameter, or a value out of range.
    """
    for key in given:
        if key not in ("name", "preview", "explain"):
            raise Refused(400, f"unknown parameter {key!r}; there are name, preview and explain")
    name = given.get("name") or UNNAMED
    if len(name) > MOST_LETTERS:
        raise Refused(400, f"name: has {len(name)} letters, and {MOST_LETTERS} are the most")
    return Asked(plain_path(name), _side(given), _switch(given, "explain"))


def _side(given: QueryParams) -> int:
    text = given.get("preview", "0")
    if re.fullmatch("[0-9]{1,3}", text):
        side = int(text)
        if side == 0 or MIN_PREVIEW_SIDE <= side <= MAX_PREVIEW_SIDE:
            return side
    raise Refused(400, f"preview: a side of {MIN_PREVIEW_SIDE} to {MAX_PREVIEW_SIDE} px")


def _switch(given: QueryParams, key: str) -> bool:
    text = given.get(key, "0")
    if text not in ("0", "1"):
        raise Refused(400, f"{key}: 0 or 1")
    return text == "1"
