"""TIFF, PNG, BMP and JPEG bytes changed at random: a picture or a reason, and no other end."""

from random import Random

import pytest
from hostile.damaged import whole_files
from hostile.fuzz import example, fault
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

WHOLE = whole_files()
SIGNATURES = (b"II*\0", b"MM\0*", b"BM", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")
FEW = settings(
    max_examples=150,
    derandomize=True,  # the same examples on every machine; scripts/torture.py tries 50,000
    deadline=5000,  # ms
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)


@pytest.mark.parametrize("kind", WHOLE)
def test_changed_bytes_are_a_picture_or_a_reason(kind: str) -> None:
    """No other exception, nothing that is not RGB, no picture that checksums contradict."""
    whole, shown = WHOLE[kind]

    @FEW
    @given(st.randoms(use_true_random=False))
    def hold(random: Random) -> None:
        assert fault(*example(random, kind, whole, shown)) == ""

    hold()


@pytest.mark.parametrize("start", SIGNATURES)
def test_any_bytes_behind_a_signature_are_a_picture_or_a_reason(start: bytes) -> None:
    """Bytes from nowhere, of which only the first say what they would be."""

    @FEW
    @given(st.binary(max_size=400))
    def hold(rest: bytes) -> None:
        assert fault(start + rest, None) == ""

    hold()


def test_the_fuzzer_sees_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is another picture, or ends in another exception than `ImageError`, is told."""
    whole, shown = WHOLE["png-rgb.png"]
    assert fault(whole, shown) == ""
    assert fault(whole, 255 - shown) == "another picture, against its checksums"
    monkeypatch.setattr("hostile.fuzz.decode", lambda data, name: data / 0)
    assert fault(whole, shown).startswith("TypeError came out")
