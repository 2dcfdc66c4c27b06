"""Measure how fast `alld serve` answers, against predicting the same images without a server.

    python scripts/serving_speed.py --model runs/RUN --images cells/

It starts the server as a user does, on a free port of this machine, and sends requests. The
last line is JSON: seconds from the command to the first page and to the loaded model, of one answer
(median, 95th percentile), of one with several clients at once, and of one image predicted in a
process; the memory of the server and its children, in MB.
"""

import argparse
import json
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from itertools import cycle, islice
from pathlib import Path

import activated  # noqa: F401 - says which environment to activate
from trials.memory import memory_mb

HEADERS = {"X-ALLD": "1"}
BUSY = 429
WARM = 3  # answers that no clock counts


def main() -> None:
    """Send requests one by one, then by several clients at once, then predict without a server."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True, help="folder of images")
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--clients", type=int, default=4)
    options = parser.parse_args()
    images = [file for file in sorted(options.images.iterdir()) if file.is_file()]
    chosen = list(islice(cycle(images), options.requests))
    with serving(options.model) as (host, process, found):
        idle = memory_mb(process.pid)
        send_all(host, chosen[:WARM])
        one_by_one = send_all(host, chosen)
        began = time.perf_counter()
        with ThreadPoolExecutor(options.clients) as pool:
            parts = [chosen[number :: options.clients] for number in range(options.clients)]
            list(pool.map(send_all, [host] * options.clients, parts))
        several = (time.perf_counter() - began) / len(chosen)
        memory = {"idle_mb": idle, "peak_mb": memory_mb(process.pid)}
    answer = {
        **found,
        "median": statistics.median(one_by_one),
        "p95": statistics.quantiles(one_by_one, n=20)[-1],
        "without_server": statistics.median(predict_all(options.model, chosen)),
        "requests": len(chosen),
        "several": several,
        **memory,
    }
    print(json.dumps(answer))


@contextmanager
def serving(model: Path) -> Iterator[tuple[str, "subprocess.Popen[str]", dict[str, float]]]:
    """The server on a free port, its host, and the seconds until page and model were there."""
    command = [sys.executable, "-m", "alld", "serve", "--port", "0", "--model", str(model)]
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            said = re.search(r"http://([^/\s]+)", process.stdout.readline())
            assert said, "the server said no address"
            host = said[1]
            assert get(host, "/").startswith(b"<!doctype html>")
            page = time.perf_counter() - began
            while json.loads(get(host, "/health"))["status"] != "ready":
                time.sleep(0.02)
            yield host, process, {"first_page": page, "ready": time.perf_counter() - began}
        finally:
            process.send_signal(signal.SIGINT)


def get(host: str, path: str) -> bytes:
    connection = HTTPConnection(host)
    connection.request("GET", path)
    return connection.getresponse().read()


def send_all(host: str, images: list[Path]) -> list[float]:
    """Seconds of each answer, over one connection; a server that is busy is tried again."""
    connection, seconds = HTTPConnection(host), []
    for image in images:
        body, began = image.read_bytes(), time.perf_counter()
        while True:
            connection.request("POST", "/predict", body, HEADERS)
            response = connection.getresponse()
            answer = json.loads(response.read())
            if response.status != BUSY:
                break
            time.sleep(0.05)
        assert response.status == 200, answer
        seconds.append(time.perf_counter() - began)
    connection.close()
    return seconds


def predict_all(model: Path, images: list[Path]) -> list[float]:
    """Seconds of each image in this process, all threads to the one image."""
    from alld.inference.predictor import Predictor  # not before the server has been timed

    predictor = Predictor.load(model)
    predictor.predict(images[:WARM])
    seconds = []
    for image in images:
        began = time.perf_counter()
        predictor.predict([image])
        seconds.append(time.perf_counter() - began)
    return seconds


if __name__ == "__main__":
    main()
