"""The server among 16 clients, of whom most mean no good: right answers, bounded memory, a life.

The server is the command itself in a process of its own, on a free port of this machine.
"""

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from random import Random

from hostile.case import Case
from hostile.catalogue import large, small
from untrained import write_untrained

from trials.memory import memory_mb
from trials.tally import Tally

CLIENTS, SECONDS, QUICK_SECONDS = 16, 30.0, 3.0
# Of the server and its children together, beyond what they held before: 500 for a file in each of
# two children, and what waits in the server.
MOST_MB = 1500.0
MOST_SECONDS = 2.0  # for a good image, when all is over
MOST_BYTES = 32 * 2**20  # of an upload
POST = {"X-ALLD": "1"}
PATIENCE = 60.0  # seconds until a client calls an answer missing
BUSY, AGAIN = 429, "again"


@dataclass(frozen=True)
class Target:
    """The server that is tried, and what is sent to it."""

    process: "subprocess.Popen[str]"
    host: str  # with its port
    good: Case
    small: list[Case]
    large: list[Case]


def run(work: Path, quick: bool) -> list[Tally]:
    """A tally of good requests, one of hostile ones, and one of the good image after all."""
    good = Tally("serve, good"), Tally("serve, hostile")
    after = Tally("serve, afterwards")
    with serving(work, quick) as target:
        idle = memory_mb(target.process.pid)
        peak = storm(target, *good, QUICK_SECONDS if quick else SECONDS)
        after.count(
            "memory", f"{peak - idle:.0f} MB" if peak - idle > MOST_MB else "", 0, peak - idle
        )
        began = time.monotonic()
        fault = judged(target, target.good)
        seconds = time.monotonic() - began
        slow = f"{seconds:.1f} s" if seconds > MOST_SECONDS and not quick else ""
        after.count("a good image", fault or slow, seconds)
        after.count("the process", "" if target.process.poll() is None else "has ended")
    return [*good, after]


@contextmanager
def serving(work: Path, quick: bool) -> Iterator[Target]:
    """`alld serve` with an untrained model, as soon as it can judge."""
    model = write_untrained(work / "model.alld")
    command = [sys.executable, "-m", "alld", "serve", "--port", "0", "--model", str(model)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            host = process.stdout.readline().strip().removeprefix("http://").rstrip("/")
            cases = small()
            good = next(case for case in cases if case.name == "png-rgb-8.png")
            target = Target(process, host, good, cases, [] if quick else large())
            while json.loads(ask(target, "/health")[1])["status"] != "ready":
                time.sleep(0.1)
            judged(target, good)
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
            kind = judge_good if honest else rng.choice(HOSTILE)
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


def judge_good(target: Target, rng: Random) -> str:
    """An ordinary picture gets its verdict; a client that is asked to come again does, as ours."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        fault = judged(target, target.good)
        if fault != AGAIN:
            return fault
        time.sleep(rng.uniform(0.1, 0.5))
    return f"no verdict within {PATIENCE:.0f} s"


def send_small(target: Target, rng: Random) -> str:
    """A hostile file is a picture or a reason."""
    return judged(target, rng.choice(target.small)).removeprefix(AGAIN)


def send_large(target: Target, rng: Random) -> str:
    """One that could cost time or memory."""
    return judged(target, rng.choice(target.large or target.small)).removeprefix(AGAIN)


def judged(target: Target, case: Case) -> str:
    """What is wrong with the answer to a file; AGAIN where the queue was full."""
    data = case.data
    status, body = ask(target, "/predict?preview=64&name=x.png", data, POST)
    if status == BUSY:
        return AGAIN
    if len(data) > MOST_BYTES:
        return "" if status == 413 else f"status {status}"
    if status != 200:
        return f"{case.name}: status {status}"
    row = json.loads(body)
    if (row["error"] is None) == (row["probability"] is None):
        return f"{case.name}: neither a verdict nor a reason"
    must_read, must_refuse = case.refused is None, case.pixels is None
    read = row["error"] is None
    wrong = (must_read and not read) or (must_refuse and read)
    return f"{case.name}: {row['error'] or 'read as a picture'}" if wrong else ""


def declare_too_much(target: Target, _rng: Random) -> str:
    """A length that is over the limit is refused before the body comes."""
    return expects(
        413,
        bare(
            target,
            f"POST /predict HTTP/1.1\r\n{common(target)}"
            f"Content-Length: {MOST_BYTES + 1}\r\n\r\n".encode(),
        ),
    )


def send_without_end(target: Target, rng: Random) -> str:
    """Chunks without an end are cut off at the limit, wherever that is noticed."""
    with connected(target) as connection, suppress(OSError):
        connection.sendall(
            f"POST /predict HTTP/1.1\r\n{common(target)}Transfer-Encoding: chunked\r\n\r\n".encode()
        )
        chunk = b"100000\r\n" + bytes(2**20) + b"\r\n"
        for _ in range(rng.randint(1, MOST_BYTES // 2**20 + 4)):
            connection.sendall(chunk)
    return ""


def hold_half_a_head(target: Target, rng: Random) -> str:
    """A connection that says little and stays."""
    with connected(target) as connection, suppress(OSError):
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost:"[: rng.randint(0, 30)])
        time.sleep(rng.uniform(0, 1))
    return ""


def leave_in_a_body(target: Target, rng: Random) -> str:
    """A client that breaks off."""
    with connected(target) as connection, suppress(OSError):
        head = f"POST /predict HTTP/1.1\r\n{common(target)}Content-Length: 1000000\r\n\r\n"
        connection.sendall(head.encode() + bytes(rng.randint(0, 900_000)))
    return ""


def read_nothing(target: Target, rng: Random) -> str:
    """A client that asks for a preview and leaves before it comes."""
    data = target.good.data
    with connected(target) as connection, suppress(OSError):
        head = f"POST /predict?preview=512 HTTP/1.1\r\n{common(target)}"
        connection.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
        time.sleep(rng.uniform(0, 0.2))
    return ""


def come_from_elsewhere(target: Target, rng: Random) -> str:
    """Another host, another origin, no header."""
    other: dict[str, str] = rng.choice(
        [{**POST, "Host": "evil.example"}, {**POST, "Origin": "http://evil.example"}, {}]
    )
    return expects(403, ask(target, "/predict", b"x", other)[0])


def guess_a_token(target: Target, rng: Random) -> str:
    """There is none to guess."""
    body = json.dumps({"token": str(rng.random())}).encode()
    return expects(401, ask(target, "/login", body, POST)[0])


def talk_nonsense(target: Target, rng: Random) -> str:
    """Bytes that are no HTTP."""
    with connected(target) as connection, suppress(OSError):
        connection.sendall(rng.randbytes(rng.randint(1, 5000)) + b"\r\n\r\n")
        connection.recv(65536)
    return ""


HOSTILE: list[Callable[[Target, Random], str]] = [
    *([send_small] * 4),
    send_large,
    declare_too_much,
    send_without_end,
    hold_half_a_head,
    leave_in_a_body,
    read_nothing,
    come_from_elsewhere,
    guess_a_token,
    talk_nonsense,
]


def ask(
    target: Target, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[int, bytes]:
    """Status and body of one request; no body is a GET."""
    connection = HTTPConnection(target.host, timeout=PATIENCE)
    try:
        connection.request("GET" if body is None else "POST", path, body, headers or {})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def bare(target: Target, said: bytes) -> int:
    """The status that is answered to some bytes."""
    with connected(target) as connection:
        connection.sendall(said)
        return int(connection.recv(65536).split()[1])


def connected(target: Target) -> socket.socket:
    host, port = target.host.split(":")
    return socket.create_connection((host, int(port)), timeout=PATIENCE)


def common(target: Target) -> str:
    return f"Host: {target.host}\r\nX-ALLD: 1\r\n"


def expects(wanted: int, status: int) -> str:
    return "" if status in (wanted, BUSY) else f"status {status}, not {wanted}"
