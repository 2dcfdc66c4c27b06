"""`alld serve` as a user types it: an address, a page, an end; and among hostile clients."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path

import pytest
from conftest import ARCH, REPOSITORY, Answer
from serving import SECONDS, client_of, served
from untrained import write_untrained

from alld import NOTICE

sys.path.insert(0, str(REPOSITORY / "scripts"))
from trials import serve as trial

PIPE = subprocess.PIPE
HAS_SIGNALS = pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")


def ended(process: "subprocess.Popen[str]", number: int) -> tuple[int, str, str]:
    """Send a signal and wait for the end; return the status and both outputs."""
    process.send_signal(number)
    out, err = process.communicate(timeout=SECONDS)
    return process.returncode, out, err


@HAS_SIGNALS
def test_it_serves_says_so_and_ends_by_ctrl_c(untrained: Path) -> None:
    """The address alone on standard output, the model, the notice; no name of any file; 130."""
    name = "Smith-J-1962.tif"
    with served("--model", untrained, errors=PIPE) as (process, address):
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", address)
        client = client_of(address)
        assert b"<title>ALLD" in client.ask("/").body
        assert b'"probability"' in client.predict(b"no picture", name).body
        client.ask(f"/{name}")
        status, out, err = ended(process, signal.SIGINT)
    lines = err.splitlines()
    assert (status, out) == (130, "")
    assert (lines[0], lines[-1], len(lines)) == (NOTICE, "stopped by Ctrl-C", 5)
    assert any(re.search(rf"model: .* SYNTHETIC \({ARCH}", line) for line in lines)
    assert name not in err


@HAS_SIGNALS
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_while_the_model_loads_and_a_client_waits(
    untrained: Path, number: int, status: int
) -> None:
    """It waits neither for the import of torch nor for an open connection; no traceback."""
    with served("--model", untrained, errors=PIPE) as (process, address):
        connection = HTTPConnection("127.0.0.1", client_of(address).port, timeout=SECONDS)
        connection.request("GET", "/model")
        found, _, err = ended(process, number)
        connection.close()
    assert found == status
    assert "Traceback" not in err


def test_a_model_that_cannot_be_loaded_ends_it_with_one_line(tmp_path: Path) -> None:
    """A damaged bundle: the line that `predict` has, and status 2."""
    damaged = write_untrained(tmp_path / "model.alld")
    with (damaged / "model.safetensors").open("r+b") as file:
        file.write(b"x")
    with served("--model", damaged, errors=PIPE) as (process, _address):
        _, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 2
    assert re.match("error: .*not what was written after training", err.splitlines()[-1])
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model", "{tmp}/x"], "no model there"),
        (["--model", "{model}", "--host", "0.0.0.0"], "give a token of 16 characters"),
        (["--model", "{model}", "--token", "short"], "--token: has 5 characters"),
        (["--model", "{model}", "--host", "no such name"], "no such address"),
        (["--model", "{model}", "--port", "70000"], "--port"),
        ([], "no finished run on real data"),
    ],
)
def test_what_the_user_can_mend_is_one_line(
    alld: Callable[..., Answer],
    untrained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    said: str,
) -> None:
    """Before anything listens: status 2."""
    monkeypatch.chdir(tmp_path)
    status, out, err = alld(
        "serve", *(word.format(tmp=tmp_path, model=untrained) for word in words)
    )
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert said in err


@HAS_SIGNALS
def test_sixteen_clients_do_no_harm(tmp_path: Path) -> None:
    """A sample of `scripts/torture.py`: verdicts for good pictures, refusals, bounded memory."""
    tallies = trial.run(tmp_path, quick=True)
    assert [fault for tally in tallies for fault in tally.faults] == []
    assert all(tally.tried >= 3 for tally in tallies)
