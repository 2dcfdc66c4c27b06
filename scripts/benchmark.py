"""How fast ALLD is, as ratios to other ways of doing the same in the same run on the same machine.

    python scripts/benchmark.py                       # the drawn set, all lines: most of an hour
    python scripts/benchmark.py --data ALL-IDB2       # trainings on real images
    python scripts/benchmark.py --quick               # minutes: shows that every line runs

Training: *floor*, the arithmetic alone (scripts/floor.py); *stock*, a fastai script as a user
writes it (scripts/stock_fastai.py); *alld train*. Prediction: floor, `learn.predict` in a loop,
`learn.get_preds`, *alld predict*; an archive by several processes. Runtimes: a model exported to
onnxruntime against the original on torch. `alld serve`, start-up, and memory for more and more
files. Lines alternate, A B A B; medians are compared. Let the machine do nothing else meanwhile.
"""

import argparse
import csv
import json
import os
import platform
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import activated  # noqa: F401 - says which environment to activate
from measuring import (
    ALLD,
    SCRIPTS,
    Bench,
    Done,
    Line,
    Ratio,
    call,
    call_rows,
    multiply,
    record,
    say,
    trained,
)

from alld.runtime.files import write_json


def main() -> None:
    """Measure what was asked for, print the table, write benchmark.json."""
    options = parse()
    with tempfile.TemporaryDirectory(prefix="alld-benchmark-") as folder:
        bench = Bench(options, Path(folder), Path(folder, "drawn"))
        call(*ALLD, "synth", bench.drawn, "--n", 40 if options.quick else 260)
        sections = (
            startup, decoding, prediction, archive, runtimes, abstention, serving, memory,
            training,
        )  # fmt: skip
        for section in sections:
            if section.__name__ in options.sections:
                section(bench)
                report(bench)


def training(bench: Bench) -> None:
    """`alld train` against the arithmetic and against stock fastai."""
    # Network, epochs with a frozen body and with all layers, times as fast as stock it should be.
    plans = [("efficientnet_lite0", 2, 18, 4.0), ("resnet50", 1, 2, 1.6)]
    if bench.options.quick:
        plans = [("efficientnet_lite0", 1, 1, 4.0)]
    for arch, frozen, epochs, wanted in plans:
        ours, stock, floor = (Line(f"{arch}: {name}") for name in ("alld train", "stock", "floor"))
        bench.lines += [ours, stock, floor]
        for repeat in range(bench.options.repeats):
            same = ["--arch", arch, "--epochs", epochs, "--image-size", bench.image_size]
            same += ["--device", bench.options.device]
            same += ["--batch-size", 8 if bench.options.quick else 64]
            _train_all(bench, (ours, stock, floor), same, (frozen, epochs), repeat)
            say(ours, floor, stock)
        name, same_epochs = f"{arch}: alld train", stock.median / ours.median
        bench.ratios += [
            Ratio(f"{name} / stock, images/s", ours.rate / stock.rate, f"at least {wanted}"),
            # Stock is quicker through its epochs, as it leaves out their last partial batches.
            Ratio(f"{name} / stock, the same epochs", same_epochs, "reported"),
            Ratio(f"{name} / floor", ours.rate / floor.rate, "at least 0.85"),
        ]


def _train_all(
    bench: Bench,
    lines: tuple[Line, Line, Line],
    same: list[object],
    phases: tuple[int, int],
    repeat: int,
) -> None:
    """Each of the three once; the stock script, which takes longest, in the first round only."""
    (ours, stock, floor), (frozen, epochs) = lines, phases
    pretrained = "efficientnet_lite0" in same  # the weights of the others are not everywhere
    run = bench.place / f"{same[1]}-{repeat}"
    weights = [] if pretrained else ["--no-pretrained"]
    command = [*ALLD, "train", "--data", bench.options.data or bench.drawn, "--out", run]
    done = call(*command, *same, *weights, "--set", f"train.frozen_epochs={frozen}")
    facts = json.loads((run / "run.json").read_text())
    with open(run / "split.csv", newline="") as file:
        parts = [row["part"] for row in csv.DictReader(file)]
    # From before the first epoch until the finished bundle stands on the disk.
    ours.add(Done(facts["seconds"], done.peak_mb), parts.count("train") * (frozen + epochs))
    counts = ["--training", parts.count("train"), "--validation", parts.count("valid")]
    record(floor, "floor.py", "train", *same, "--frozen-epochs", frozen, *counts)
    if repeat == 0:
        split = ["--data", facts["data"]["root"], "--split", run / "split.csv"]
        first = ["--frozen-epochs", frozen, *(["--pretrained"] if pretrained else [])]
        record(stock, "stock_fastai.py", "train", *split, *same, *first)


def prediction(bench: Bench) -> None:
    """`alld predict` against the arithmetic and against fastai's two ways."""
    files = 160 if bench.options.quick else 2600
    folder = multiply(bench.drawn, bench.place / f"files-{files}", files)
    same = ["--arch", "efficientnet_lite0", "--device", bench.options.device]
    same += ["--image-size", bench.image_size]
    names = ("alld predict, first to last row", "alld predict, whole command", "floor",
             "learn.get_preds", "learn.predict loop")  # fmt: skip
    rows, whole, floor, get_preds, loop = (Line(f"prediction: {name}") for name in names)
    bench.lines += [rows, whole, floor, get_preds, loop]
    for repeat in range(bench.options.repeats):
        call_rows(bench, folder, rows, whole)
        record(floor, "floor.py", "predict", *same, "--files", files)
        if repeat == 0:
            record(get_preds, "stock_fastai.py", "predict", "--data", folder, *same)
            some = ["--loop", 20 if bench.options.quick else 200]
            record(loop, "stock_fastai.py", "predict", "--data", folder, *same, *some)
        say(rows, whole, floor, get_preds, loop)
    bench.ratios += [
        Ratio("alld predict / learn.predict loop", rows.rate / loop.rate, "reported"),
        Ratio("alld predict / learn.get_preds", rows.rate / get_preds.rate, "at least 2"),
        Ratio("alld predict, first to last row / floor", rows.rate / floor.rate, "at least 0.85"),
    ]


def runtimes(bench: Bench) -> None:
    """The exported model on onnxruntime against the original on torch."""
    files = 160 if bench.options.quick else 2600
    folder = multiply(bench.drawn, bench.place / f"files-{files}", files)
    exported = bench.place / "model.onnx"
    call(*ALLD, "export", trained(bench), "--out", exported)
    runtime, one = Line("import onnxruntime"), Line("alld predict --model x.onnx one.tif")
    ours, torch, whole = (Line(f"runtimes: {name}") for name in ("onnxruntime", "torch", "whole"))
    bench.lines += [runtime, one, ours, torch]
    image = sorted(bench.drawn.glob("*.tif"))[0]
    for _ in range(1 if bench.options.quick else 7):
        runtime.add(call(sys.executable, "-c", "import onnxruntime"))
        one.add(call(*ALLD, "predict", image, "--model", exported))
    for _ in range(bench.options.repeats):
        call_rows(bench, folder, ours, whole, exported)
        call_rows(bench, folder, torch, whole)
    say(runtime, one, ours, torch)
    more = one.median - runtime.median
    bench.ratios += [
        Ratio("predict --model x.onnx, more seconds than its runtime", more, "at most 0.6"),
        Ratio("onnxruntime / torch, images/s", ours.rate / torch.rate, "reported"),
    ]


def abstention(bench: Bench) -> None:
    """The check of a picture's domain, against its prediction."""
    batches = ["--batches", 2 if bench.options.quick else 20, "--image-size", bench.image_size]
    forward, score = (Line(f"abstention: {name}") for name in ("forward pass", "facts and score"))
    bench.lines += [forward, score]
    for _ in range(bench.options.repeats):
        done = call(sys.executable, SCRIPTS / "abstention_cost.py", *batches)
        answer = json.loads(done.output.splitlines()[-1])
        for line, name in ((forward, "forward"), (score, "score")):
            line.add(Done(answer[name], done.peak_mb), answer["images"])
        say(forward, score)
    bench.ratios.append(
        Ratio("facts and score / forward pass", score.median / forward.median, "under 0.1")
    )


def serving(bench: Bench) -> None:
    """`alld serve` against predicting the same images, one at a time, without a server."""
    command = [sys.executable, SCRIPTS / "serving_speed.py", "--model", trained(bench)]
    command += ["--images", bench.drawn, "--requests", 10 if bench.options.quick else 200]
    names = {"first_page": "command to first page", "ready": "command to loaded model",
             "median": "an answer, median", "p95": "an answer, 95th percentile",
             "several": "an answer, four clients",
             "without_server": "without a server"}  # fmt: skip
    lines = {key: Line(f"serving: {name}") for key, name in names.items()}
    bench.lines += lines.values()
    for _ in range(bench.options.repeats):
        answer = json.loads(call(*command).output.splitlines()[-1])
        for key, line in lines.items():
            line.add(Done(answer[key], answer["peak_mb"]), key not in ("first_page", "ready"))
        say(*lines.values())
    ratio = lines["median"].median / lines["without_server"].median
    bench.ratios.append(
        Ratio("alld serve, an answer / the same without a server", ratio, "reported")
    )


def memory(bench: Bench) -> None:
    """More and more files: time should grow with them, memory should not."""
    measured = []
    for files in (40, 80) if bench.options.quick else (260, 2600, 26000):
        folder = multiply(bench.drawn, bench.place / f"files-{files}", files)
        whole = Line(f"memory: {files} files")
        call_rows(bench, folder, Line("rows"), whole)
        bench.lines.append(whole)
        measured.append(whole)
        say(whole)
    larger, smaller = measured[-1], measured[-2]
    name = f"peak memory, {larger.images} files / {smaller.images}"
    bench.ratios.append(Ratio(name, larger.peak_mb[0] / smaller.peak_mb[0], "at most 1.1"))


def archive(bench: Bench) -> None:
    """What a second process gains, a thread each; and threads in one process beside it."""
    if bench.options.quick:
        return  # so short a list is not cut in shards
    folder = multiply(bench.drawn, bench.place / "files-8192", 8192)
    command = [*ALLD, "predict", folder, "--model", trained(bench), "--device", "cpu"]
    command += ["--out", bench.place / "rows.csv"]
    ways = {(1, 1): Line("archive: 1 worker, 1 thread"),
            (2, 1): Line("archive: 2 workers, 1 thread each"),
            (1, 2): Line("archive: 1 worker, 2 threads")}  # fmt: skip
    bench.lines += ways.values()
    for _ in range(bench.options.repeats):
        for (workers, threads), line in ways.items():
            line.add(call(*command, "--workers", workers, "--threads", threads), 8192)
        say(*ways.values())
    one, two, threaded = ways.values()
    bench.ratios += [
        Ratio("archive: 2 workers / 1, a thread each", two.rate / one.rate, "at least 1.7"),
        Ratio("archive: 2 workers / 2 threads of one", two.rate / threaded.rate, "reported"),
    ]


def decoding(bench: Bench) -> None:
    """Each format through `decode`, with all checks and without, against plain Pillow."""
    done = call(sys.executable, SCRIPTS / "decoding_speed.py", 3 if bench.options.quick else 41)
    for name, (pillow, checked, known) in json.loads(done.output.splitlines()[-1]).items():
        lines = [Line(f"decoding: {name}, {way}") for way in ("Pillow", "checked", "known hash")]
        for line, seconds in zip(lines, (pillow, checked, known), strict=True):
            line.add(Done(seconds, done.peak_mb), 1)
        bench.lines += lines
        bench.ratios += [
            Ratio(f"decode / Pillow, {name}", checked / pillow, "at most 1.5"),
            Ratio(f"decode / Pillow, {name}, known hash", known / pillow, "at most 1.5"),
        ]


def startup(bench: Bench) -> None:
    """What a user waits for before anything happens."""
    python, torch = Line("python -c pass"), Line("import torch, torchvision")
    usage, one = Line("alld --help"), Line("alld predict one.tif")
    bench.lines += [python, usage, torch, one]
    image, device = sorted(bench.drawn.glob("*.tif"))[0], bench.options.device
    commands = {
        python: [sys.executable, "-c", "pass"],
        usage: [*ALLD, "--help"],
        torch: [sys.executable, "-c", "import torch, torchvision"],
        one: [*ALLD, "predict", image, "--model", trained(bench), "--device", device],
    }
    for _ in range(1 if bench.options.quick else 7):
        for line, command in commands.items():
            line.add(call(*command))
    say(*commands)
    more, ratio = usage.median - python.median, one.median / torch.median
    bench.ratios += [
        Ratio("alld --help, more seconds than python -c pass", more, "at most 0.25"),
        Ratio("alld predict one.tif / import torch, torchvision", ratio, "at most 1.5"),
    ]


def report(bench: Bench) -> None:
    """The table as Markdown, and everything in one JSON file."""
    print("\n| line | median s | images/s | peak MB |\n|---|---|---|---|")
    for line in bench.lines:
        rate = f"{line.rate:.1f}" if line.images else ""
        peak = f"{max(line.peak_mb):.0f}" if line.peak_mb else ""
        print(f"| {line.name} | {line.median:.3g} | {rate} | {peak} |")
    print("\n| figure | reached | wanted |\n|---|---|---|")
    for ratio in bench.ratios:
        print(f"| {ratio.name} | {ratio.value:.2f} | {ratio.wanted} |")
    machine = {"python": platform.python_version(), "platform": platform.platform(),
               "cores": len(os.sched_getaffinity(0))}  # fmt: skip
    lines, ratios = map(asdict, bench.lines), map(asdict, bench.ratios)
    found = {"machine": machine, "lines": list(lines), "ratios": list(ratios)}
    write_json(bench.options.out, found)
    print(f"\nwritten: {bench.options.out}", flush=True)


def parse() -> argparse.Namespace:
    sections = (
        "startup", "decoding", "prediction", "archive", "runtimes", "abstention", "serving",
        "memory", "training",
    )  # fmt: skip
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="set to train on (default: the drawn one)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or mps (default: cpu)")
    parser.add_argument("--quick", action="store_true", help="small images, few of them, once")
    parser.add_argument("--repeats", type=int, default=2, help="of every line but stock")
    parser.add_argument("--out", type=Path, default=Path("benchmark.json"))
    parser.add_argument("--section", dest="sections", action="append", choices=sections)
    options = parser.parse_args()
    options.sections = options.sections or sections
    options.repeats = 1 if options.quick else options.repeats
    return options


if __name__ == "__main__":
    main()
