"""Files are decoded in children with limits, which may die without harm."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import REPOSITORY
from hostile.catalogue import small

from alld.errors import ImageError
from alld.images.decode import Decoded, decode
from alld.serve import child, decoders
from alld.serve.child import LENGTH, Header, parse_header
from alld.serve.decoders import CHILDREN, Decoders, Picture

ON_POSIX = pytest.mark.skipif(os.name == "nt", reason="Windows has no limits for a process")
Work = Callable[[Decoders], Coroutine[Any, Any, Any]]


def with_decoders(work: Work) -> Any:
    """Run `work` with a pool, and leave no child behind."""

    async def run() -> Any:
        pool = Decoders()
        try:
            return await work(pool)
        finally:
            await pool.close()

    return asyncio.run(run())


def equal(one: Decoded, other: Decoded) -> bool:
    words = [(d.format, d.conversions, d.warnings) for d in (one, other)]
    return words[0] == words[1] and np.array_equal(one.pixels, other.pixels)


def test_a_child_decodes_as_decode_does() -> None:
    """Pictures, notes and refusals of a sample of all small hostile files, one after the other."""

    async def all_of_them(pool: Decoders) -> list[str]:
        return [name for case in small()[::12] if (name := await differs(pool, case))]

    async def differs(pool: Decoders, case: Any) -> str:
        try:
            wanted: Decoded | str = decode(case.data, case.name)
        except ImageError as error:
            wanted = str(error)
        try:
            found: Decoded | str = (await pool.decode(case.name, case.data)).decoded
        except ImageError as error:
            found = str(error)
        if isinstance(found, Decoded) and isinstance(wanted, Decoded):
            return "" if equal(found, wanted) else case.name
        return "" if found == wanted else f"{case.name}: {found}"

    assert with_decoders(all_of_them) == []


def test_children_live_on_and_work_side_by_side(cell: bytes) -> None:
    """Many files, few processes; what comes back can be written to."""

    async def many(pool: Decoders) -> tuple[int, list[Picture]]:
        found = await asyncio.gather(*(pool.decode("x.tif", cell) for _ in range(20)))
        return len(pool._alive), list(found)

    alive, pictures = with_decoders(many)
    assert alive == CHILDREN
    assert all(equal(picture.decoded, decode(cell, "x.tif")) for picture in pictures)
    assert all(picture.decoded.pixels.flags.writeable for picture in pictures)


def test_a_child_that_was_killed_is_replaced(cell: bytes) -> None:
    """While it is idle nobody notices."""

    async def killed(pool: Decoders) -> Picture:
        await pool.start()
        for process in list(pool._alive):
            process.kill()
            await process.wait()
        return await pool.decode("x.tif", cell)

    assert equal(with_decoders(killed).decoded, decode(cell, "x.tif"))


@ON_POSIX
def test_a_child_that_dies_at_its_work_costs_that_file_alone(cell: bytes) -> None:
    """One line that says so; the next file has a new child."""

    async def dies(pool: Decoders) -> Picture:
        await pool.start()
        for process in pool._alive:
            process.send_signal(signal.SIGSTOP)  # both are there, and answer nothing
        asked = [asyncio.create_task(pool.decode("=x\n.tif", cell)) for _ in range(CHILDREN)]
        await asyncio.sleep(0.05)
        for process in list(pool._alive):
            process.kill()
        for one in asked:
            with pytest.raises(ImageError, match="ended the process") as caught:
                await one
            assert str(caught.value).isprintable()
        return await pool.decode("x.tif", cell)

    assert equal(with_decoders(dies).decoded, decode(cell, "x.tif"))


def test_a_child_that_takes_too_long_is_ended(cell: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the clock; the file has a reason and the place a new child."""

    async def slow(pool: Decoders) -> Picture:
        await pool.start()
        with monkeypatch.context() as patch:
            patch.setattr(decoders, "SECONDS", 0.0)
            with pytest.raises(ImageError, match="not decoded after 0 s"):
                await pool.decode("x.tif", cell)
        return await pool.decode("x.tif", cell)

    assert equal(with_decoders(slow).decoded, decode(cell, "x.tif"))


def test_a_child_is_replaced_after_long_work(cell: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a library leaks goes with it."""
    monkeypatch.setattr(decoders, "JOBS", 2)

    async def long(pool: Decoders) -> set[int]:
        seen = set()
        for _ in range(8):
            await pool.decode("x.tif", cell)
            seen |= {process.pid for process in pool._alive}
        return seen

    assert len(with_decoders(long)) >= 4


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"\xff\xff\xff\xff",
        LENGTH.pack(2) + b"[]",
        LENGTH.pack(8) + b"[[[[[[[[",
        Header(None, 10**6, 10**6).to_bytes(),
        Header(None, 5, 5).to_bytes() + b"too few samples",
    ],
)
def test_nothing_is_believed_of_a_child_that_lies(
    said: bytes, cell: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A decoder that was taken over may say what it likes: its file is refused, no more."""
    (tmp_path / "said").write_bytes(said)
    script = "import sys; sys.stdout.buffer.write(b'ready' + open(sys.argv[1], 'rb').read())"
    real = asyncio.create_subprocess_exec

    async def liar(*_command: str, **options: Any) -> Any:
        return await real(sys.executable, "-c", script, str(tmp_path / "said"), **options)

    async def ask(pool: Decoders) -> None:
        monkeypatch.setattr(asyncio, "create_subprocess_exec", liar)
        with pytest.raises(ImageError, match="ended the process"):
            await pool.decode("x.tif", cell)

    with_decoders(ask)


@pytest.mark.parametrize(
    "header",
    [
        Header(None, 10**6, 10**6),
        Header(None, 5001, 5000),
        Header(None, -1, -1),
        Header(None, 1, 1, preview=2**31),
        Header(None, 0, 0),
        Header(error="two\nlines"),
        Header(None, 1, 1, format="\x1b[2J"),
    ],
)
def test_a_header_is_checked_before_memory_is_taken_for_it(header: Header) -> None:
    """Too large, empty, and texts that are not one line are refused."""
    with pytest.raises(ValueError, match=r"larger than any|a reason|one line|not a number"):
        parse_header(header.to_bytes()[LENGTH.size :])


def test_a_header_comes_through_whole() -> None:
    """What a child says of a picture is what the server reads."""
    header = Header(None, 3, 4, 5, "TIFF", ("grey to RGB",), ("named .png",))
    assert parse_header(header.to_bytes()[LENGTH.size :]) == header
    assert header.samples == 36


def test_a_child_inherits_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """Least of all the token."""
    monkeypatch.setenv("ALLD_TOKEN", "secret")
    assert "secret" not in str(decoders._environment())


@ON_POSIX
def test_ctrl_c_in_the_terminal_is_not_for_a_child() -> None:
    """It belongs to no session of the server's."""

    async def sessions(pool: Decoders) -> set[int]:
        await pool.start()
        return {os.getsid(process.pid) for process in pool._alive}

    assert os.getsid(0) not in with_decoders(sessions)


def limited(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process that has given up what a child gives up."""
    script = f"from alld.serve.child import *\n{code}"
    command = [sys.executable, "-c", script]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)


@ON_POSIX
@pytest.mark.parametrize(
    ("code", "word"),
    [
        ("bytearray(3 << 30)", "MemoryError"),
        ("open('/tmp/x-alld', 'wb', 0).write(b'x')", "File too large"),
    ],
)
def test_a_child_has_no_more_memory_and_writes_no_file(code: str, word: str) -> None:
    """The system refuses both."""
    done = limited(f"limit_all()\n{code}")
    assert done.returncode == 1
    assert word in done.stderr.splitlines()[-1]


@ON_POSIX
def test_a_child_starts_no_process() -> None:
    """For the superuser Linux has no such limit."""
    if os.geteuid() == 0:
        pytest.skip("the superuser may start any number of processes")
    done = limited("limit_all()\nimport os\nos.fork()")
    assert "BlockingIOError" in done.stderr.splitlines()[-1]


@ON_POSIX
def test_the_system_ends_a_child_that_computes_too_long() -> None:
    """By the processor's time of one file; what came before does not count."""
    done = limited("limit_time(0)\nwhile True: pass")
    assert done.returncode == -signal.SIGXCPU
    again = limited("limit_time(0)\nlimit_time(60)\nx = [i for i in range(10**7)]")
    assert again.returncode == 0


def test_a_picture_without_memory_has_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Pillow or numpy run into the limit, the answer is a line."""

    def exhausted(*_given: object) -> None:
        raise MemoryError

    monkeypatch.setattr(child, "preview", exhausted)
    answers = BytesIO()
    child.answer(
        "=x\n.png", next(c for c in small() if c.name == "png-rgb-8.png").data, 64, answers
    )
    header = parse_header(answers.getvalue()[LENGTH.size :])
    assert header.error == "=x\\n.png: takes more memory than one picture may"
