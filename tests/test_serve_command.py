"""`alld serve` as a user types it: an address, a page, an end."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from conftest import Answer
from serving import POST
from untrained import write_untrained

from alld import NOTICE

SECONDS = 300  # until a test gives up


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained bundle. Read only."""
    return write_untrained(tmp_path_factory.mktemp("untrained") / "model.alld")


@contextmanager
def served(*words: object) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """The command in a process of its own, and the address that it printed."""
    command = [sys.executable, "-m", "alld", "serve", "--port", "0", *map(str, words)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as process:
        assert process.stdout
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def ask(address: str, path: str, method: str = "GET", body: bytes | None = None) -> bytes:
    connection = HTTPConnection(urlsplit(address).netloc, timeout=SECONDS)
    connection.request(method, path, body, POST)
    answer = connection.getresponse().read()
    connection.close()
    return answer


def ended(process: "subprocess.Popen[str]", number: int) -> tuple[str, str]:
    """Send a signal and wait for the end: what was said on both outputs."""
    process.send_signal(number)
    return process.communicate(timeout=SECONDS)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
def test_it_serves_says_so_and_ends_by_ctrl_c(model: Path) -> None:
    """The address alone on standard output, the model, the notice; no name of any file; 130."""
    name = "Smith-J-1962.tif"
    with served("--model", model) as (process, address):
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", address)
        assert b"<title>ALLD" in ask(address, "/")
        assert b'"probability"' in ask(address, f"/predict?name={name}", "POST", b"no picture")
        ask(address, f"/{name}")
        out, err = ended(process, signal.SIGINT)
    lines = err.splitlines()
    assert (process.returncode, out) == (130, "")
    assert lines[0] == NOTICE
    assert lines[-1] == "stopped by Ctrl-C"
    assert any(re.search(r"model: .* SYNTHETIC \(efficientnet_lite0", line) for line in lines)
    assert name not in err
    assert len(lines) == 4


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_while_the_model_loads_and_a_client_waits(
    model: Path, number: int, status: int
) -> None:
    """Neither the import of torch nor an open connection is waited for; no traceback."""
    with served("--model", model) as (process, address):
        parts = urlsplit(address)
        connection = HTTPConnection(parts.netloc, timeout=SECONDS)
        connection.request("GET", "/model")
        _, err = ended(process, number)
        connection.close()
    assert process.returncode == status
    assert "Traceback" not in err


def test_a_model_that_cannot_be_loaded_ends_it_with_one_line(model: Path, tmp_path: Path) -> None:
    """Damaged: the line that `predict` has, and status 2."""
    damaged = write_untrained(tmp_path / "model.alld")
    with (damaged / "model.safetensors").open("r+b") as file:
        file.write(b"x")
    with served("--model", damaged) as (process, _address):
        _, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 2
    last = err.splitlines()[-1]
    assert last.startswith("error: ")
    assert "not what was written after training" in last
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model", "{tmp}/x"], "no model bundle there"),
        (["--model", "{model}", "--host", "0.0.0.0"], "give a token of 16 characters"),
        (["--model", "{model}", "--token", "short"], "--token: has 5 characters"),
        (["--model", "{model}", "--host", "no such name"], "no such address"),
        (["--model", "{model}", "--port", "70000"], "--port"),
        ([], "no finished run on real data"),
    ],
)
def test_what_the_user_can_mend_is_one_line(
    alld: Callable[..., Answer],
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    said: str,
) -> None:
    """Before anything listens: status 2."""
    monkeypatch.chdir(tmp_path)
    given = [word.format(tmp=tmp_path, model=model) for word in words]
    status, out, err = alld("serve", *given)
    assert (status, out) == (2, "")
    assert said in err
    assert len(err.splitlines()) == 1
