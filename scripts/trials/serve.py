"""Try the server with 16 clients at once, most of them hostile.

Good images keep their right answers, memory stays bounded and the server lives on. It is the
command itself in a process of its own, on a free port of this machine.
"""

import json
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from hostile.case import Case
from hostile.catalogue import large, small
from serving import FORM, POST, Client, client_of, form_of, served, status_of
from untrained import write_untrained

from trials.memory import memory_mb
from trials.tally import Tally

CLIENTS, SECONDS, QUICK_SECONDS = 16, 30.0, 3.0
# Of the server and its children together, beyond what they held before: 500 for a file in each of
# two children, and what waits in the server.
MOST_MB = 1500.0
MOST_SECONDS = 2.0  # for a good image, when all is over
MOST_BYTES = 32 * 2**20  # of an upload
PATIENCE = 60.0  # seconds until a verdict is missing
BUSY, AGAIN = 429, "again"


@dataclass
class Target(Client):
    """The server that is tried, and what is sent to it."""

    process: "subprocess.Popen[str]"
    good: Case
    small: list[Case]
    large: list[Case]


def run(work: Path, quick: bool) -> list[Tally]:
    """Return tallies of good requests, of hostile ones, and of a good image after all of them."""
    good, hostile = Tally("serve, good"), Tally("serve, hostile")
    after = Tally("serve, afterwards")
    with serving(work, quick) as target:
        idle = memory_mb(target.process.pid)
        more = storm(target, good, hostile, QUICK_SECONDS if quick else SECONDS) - idle
        after.count("memory", f"{more:.0f} MB" if more > MOST_MB else "", 0, more)
        began = time.monotonic()
        fault = predict(target, target.good)
        seconds = time.monotonic() - began
        slow = f"{seconds:.1f} s" if seconds > MOST_SECONDS and not quick else ""
        after.count("a good image", fault or slow, seconds)
        after.count("the process", "" if target.process.poll() is None else "has ended")
    return [good, hostile, after]


@contextmanager
def serving(work: Path, quick: bool) -> Iterator[Target]:
    """Run `alld serve` with an untrained model; yield it as soon as the model is loaded."""
    cases = small()
    good = next(case for case in cases if case.name == "png-rgb-8.png")
    with served("--model", write_untrained(work / "model.alld")) as (process, address):
        port = client_of(address).port
        target = Target(port, process, good, cases, [] if quick else large())
        try:
            while target.ask("/health").json["status"] != "ready":
                time.sleep(0.1)
            predict(target, good)
            yield target
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(PATIENCE)


def storm(target: Target, good: Tally, hostile: Tally, seconds: float) -> float:
    """All clients at once for so long; returns the most memory that the server held, in MB."""
    end = time.monotonic() + seconds
    lock = threading.Lock()

    def client(number: int) -> None:
        rng = Random(number)
        while time.monotonic() < end:
            honest = number % 4 == 0
            kind = send_good if honest else rng.choice(HOSTILE)
            began = time.monotonic()
            try:
                fault = kind(target, rng)
            except OSError as error:
                fault = f"{type(error).__name__}: {error}"
            with lock:
                tally = good if honest else hostile
                tally.count(kind.__name__, fault, time.monotonic() - began)

    clients = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    for one in clients:
        one.start()
    peak = 0.0
    while any(one.is_alive() for one in clients):
        peak = max(peak, memory_mb(target.process.pid))
        time.sleep(0.1)
    return peak


def send_good(target: Target, rng: Random) -> str:
    """An ordinary picture gets its verdict; a client that is asked to come again does, as ours."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        fault = predict(target, target.good)
        if fault != AGAIN:
            return fault
        time.sleep(rng.uniform(0.1, 0.5))
    return f"no verdict within {PATIENCE:.0f} s"


def send_small(target: Target, rng: Random) -> str:
    """A hostile file is a picture or a reason."""
    return predict(target, rng.choice(target.small)).removeprefix(AGAIN)


def send_large(target: Target, rng: Random) -> str:
    """One that could cost time or memory."""
    return predict(target, rng.choice(target.large or target.small)).removeprefix(AGAIN)


def send_form(target: Target, rng: Random) -> str:
    """Several hostile files at once: a row for each, as if it came alone."""
    cases = [target.good, *rng.choices(target.small, k=rng.randint(0, 5))]
    reply = target.send_form(*(("x.png", case.data) for case in cases))
    if reply.status != 200:
        return expects(200, reply.status)
    if len(reply.json) != len(cases):
        return f"{len(reply.json)} rows for {len(cases)} files"
    return next(filter(None, map(fault_of, cases, reply.json)), "")


def send_damaged_form(target: Target, rng: Random) -> str:
    """One with a piece cut out, or bytes changed, is understood or refused."""
    form = bytearray(form_of(("a.png", target.good.data), ("b.png", b"no picture")))
    for _ in range(rng.randint(1, 5)):
        at = rng.randrange(len(form))
        if rng.random() < 0.5:
            del form[at : at + rng.randint(1, 200)]
        else:
            form[at] = rng.randrange(256)
    status = target.ask("/predict", "POST", bytes(form), POST | FORM).status
    return "" if status in (200, 400, BUSY) else f"status {status}"


def predict(target: Target, case: Case) -> str:
    """What is wrong with the answer to a file; AGAIN where the queue was full."""
    reply = target.ask("/predict?preview=64&name=x.png", "POST", case.data, POST)
    status = reply.status
    if status == BUSY:
        return AGAIN
    if len(case.data) > MOST_BYTES:
        return "" if status == 413 else f"status {status}"
    return fault_of(case, reply.json) if status == 200 else f"{case.name}: status {status}"


def fault_of(case: Case, row: dict[str, Any]) -> str:
    """What is wrong with the row of a file."""
    if (row["error"] is None) == (row["probability"] is None):
        return f"{case.name}: neither a verdict nor a reason"
    must_read, must_refuse = case.refused is None, case.pixels is None
    read = row["error"] is None
    wrong = (must_read and not read) or (must_refuse and read)
    return f"{case.name}: {row['error'] or 'read as a picture'}" if wrong else ""


def declare_too_much(target: Target, _rng: Random) -> str:
    """A length that is over the limit is refused before the body comes."""
    with target.connect() as connection:
        connection.sendall(target.post_head(f"Content-Length: {MOST_BYTES + 1}"))
        return expects(413, status_of(connection))


def send_without_end(target: Target, rng: Random) -> str:
    """Chunks without an end are cut off at the limit, wherever that is noticed."""
    with target.connect() as connection, suppress(OSError):
        connection.sendall(target.post_head("Transfer-Encoding: chunked"))
        chunk = b"100000\r\n" + bytes(2**20) + b"\r\n"
        for _ in range(rng.randint(1, MOST_BYTES // 2**20 + 4)):
            connection.sendall(chunk)
    return ""


def hold_half_a_head(target: Target, rng: Random) -> str:
    """A connection sends little and stays."""
    with target.connect() as connection, suppress(OSError):
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost:"[: rng.randint(0, 30)])
        time.sleep(rng.uniform(0, 1))
    return ""


def leave_in_a_body(target: Target, rng: Random) -> str:
    """A client breaks off."""
    with target.connect() as connection, suppress(OSError):
        head = target.post_head("Content-Length: 1000000")
        connection.sendall(head + bytes(rng.randint(0, 900_000)))
    return ""


def read_nothing(target: Target, rng: Random) -> str:
    """A client asks for a preview and leaves before it comes."""
    data = target.good.data
    with target.connect() as connection, suppress(OSError):
        head = target.post_head(f"Content-Length: {len(data)}", "/predict?preview=512")
        connection.sendall(head + data)
        time.sleep(rng.uniform(0, 0.2))
    return ""


def come_from_elsewhere(target: Target, rng: Random) -> str:
    """Another host, another origin or no header is refused."""
    other: dict[str, str] = rng.choice(
        [{**POST, "Host": "evil.example"}, {**POST, "Origin": "http://evil.example"}, {}]
    )
    return expects(403, target.ask("/predict", "POST", b"x", other).status)


def guess_a_token(target: Target, rng: Random) -> str:
    """There is none to guess."""
    body = json.dumps({"token": str(rng.random())}).encode()
    return expects(401, target.ask("/login", "POST", body, POST).status)


def talk_nonsense(target: Target, rng: Random) -> str:
    """Bytes that are not HTTP do no harm."""
    with target.connect() as connection, suppress(OSError):
        connection.sendall(rng.randbytes(rng.randint(1, 5000)) + b"\r\n\r\n")
        connection.recv(65536)
    return ""


def expects(wanted: int, status: int) -> str:
    return "" if status in (wanted, BUSY) else f"status {status}, not {wanted}"


HOSTILE: list[Callable[[Target, Random], str]] = [
    *([send_small] * 4),
    send_large,
    send_form,
    send_damaged_form,
    declare_too_much,
    send_without_end,
    hold_half_a_head,
    leave_in_a_body,
    read_nothing,
    come_from_elsewhere,
    guess_a_token,
    talk_nonsense,
]
