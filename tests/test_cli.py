"""The commands as a user types them: answers, errors in one line, exit statuses."""

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import SMALL, Answer
from drawn import draw_all_idb2

from alld import display
from alld.commands import COMMANDS, load_command

Alld = Callable[..., Answer]
SETTINGS = [f"--set={key}={value}" for key, value in SMALL.items()]


@pytest.fixture
def workplace(run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with one finished run under runs/ that passes for one on real data."""
    shutil.copytree(run_folder, tmp_path / "runs" / "first")
    facts = json.loads((tmp_path / "runs" / "first" / "run.json").read_text())
    facts["data"]["synthetic"] = False
    (tmp_path / "runs" / "first" / "run.json").write_text(json.dumps(facts))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_train_evaluate_predict_runs(
    alld: Alld, drawn_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The main job from the command line, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    status, out, err = alld("train", "--data", drawn_set, "--seed", 1, *SETTINGS)
    assert status == 0, err
    folder = out.strip().removeprefix("run: ")
    assert "SYNTHETIC" in err
    assert "next: alld evaluate" in err
    assert "threshold: 0.5 (default)" in err
    status, out, err = alld("evaluate", folder, "--json")
    assert status == 0, err
    assert json.loads(out)["metrics"]["accuracy"]["n"] == 8
    status, out, err = alld("predict", drawn_set, "--model", folder)
    assert status == 0
    assert len(out.splitlines()) == 40
    assert "40 images" in err
    assert "Not a medical device" in err
    status, out, _ = alld("runs")
    assert "SYNTHETIC" in out
    assert "/8)" in out


def test_predict_takes_the_newest_real_run_and_says_which(
    alld: Alld, workplace: Path, drawn_set: Path
) -> None:
    """No --model: the newest finished run on real data under ./runs, named on standard error."""
    status, out, err = alld("predict", drawn_set / "Im001_1.tif")
    assert status == 0
    assert "newest finished run: runs/first" in err.replace(os.sep, "/")
    assert "P(blast)" in out


def test_a_synthetic_run_never_stands_in_silently(
    alld: Alld, run_folder: Path, drawn_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs on drawn images are used by name only."""
    shutil.copytree(run_folder, tmp_path / "runs" / "drawn")
    monkeypatch.chdir(tmp_path)
    status, _, err = alld("predict", drawn_set / "Im001_1.tif")
    assert status == 2
    assert "no finished run on real data" in err
    status, _, err = alld("predict", "--model", "runs/drawn", drawn_set / "Im001_1.tif")
    assert status == 0
    assert "SYNTHETIC" in err


def test_json_is_the_only_thing_on_standard_output(
    alld: Alld, run_folder: Path, drawn_set: Path, tmp_path: Path
) -> None:
    """`predict --json`: model and rows; a bad file is a row, and the status is 1."""
    bad = tmp_path / "bad.tif"
    bad.write_text("no picture")
    status, out, _ = alld(
        "predict", "--model", run_folder, "--json", drawn_set / "Im001_1.tif", bad
    )
    answer = json.loads(out)
    assert status == 1
    assert answer["model"]["synthetic"] is True
    assert {bool(row["error"]) for row in answer["predictions"]} == {True, False}


@pytest.mark.parametrize("table", ["csv", "jsonl"])
def test_rows_stream_as_a_table(
    alld: Alld, run_folder: Path, drawn_set: Path, tmp_path: Path, table: str
) -> None:
    """--format on standard output and --out into a file give the same rows."""
    status, out, _ = alld("predict", "--model", run_folder, "--format", table, drawn_set)
    assert status == 0
    file = tmp_path / f"rows.{table}"
    status, silent, _ = alld("predict", "--model", run_folder, "--out", file, drawn_set)
    assert (status, silent) == (0, "")
    assert file.read_text() == out
    rows = (
        list(csv.DictReader(io.StringIO(out)))
        if table == "csv"
        else [json.loads(line) for line in out.splitlines()]
    )
    assert len(rows) == 40
    assert [row["path"] for row in rows] == sorted(row["path"] for row in rows)


def test_all_inputs_bad_is_status_1_with_all_rows(
    alld: Alld, run_folder: Path, tmp_path: Path
) -> None:
    """Even when nothing could be read every input has its row."""
    status, out, err = alld("predict", "--model", run_folder, tmp_path / "a", tmp_path / "b*")
    assert status == 1
    assert len(out.splitlines()) == 2
    assert "2 failed" in err


BAD = {
    "no data set": (["train", "--data", "{tmp}/nothing"], "ask its authors"),
    "empty folder": (["train", "--data", "{tmp}"], "no image lies in or below"),
    "unknown arch": (["train", "--arch", "resnet51", "--data", "{set}"], "resnet50"),
    "unknown key": (["train", "--set", "train.epoch=3"], "train.epochs"),
    "negative epochs": (["train", "--epochs", "-1"], "train.epochs"),
    "unknown option": (["train", "--epocs", "3"], "--epochs"),
    "unknown command": (["trian"], "train"),
    "unknown split": (["train", "--split", "patients"], "grouped"),
    "resume with others": (["train", "--resume", "x", "--epochs", "3"], "give it alone"),
    "resume of nothing": (["train", "--resume", "{tmp}/x"], "no run there"),
    "evaluate nothing": (["evaluate", "{tmp}/x"], "no run there"),
    "prevalence in per cent": (["evaluate", "{run}", "--prevalence", "10"], "between 0 and 1"),
    "compare one run": (["compare", "{run}"], "two runs or more"),
    "compare nothing": (["compare", "{run}", "{tmp}/x"], "no run there"),
    "no model": (["predict", "--model", "{tmp}/x", "{set}"], "no model there"),
    "out of unknown kind": (["predict", "--model", "{run}", "--out", "a.txt", "x"], ".jsonl"),
    "out that holds a run": (["train", "--data", "{set}", "--out", "{run}"], "already holds a run"),
    "paper split elsewhere": (
        ["train", "--data", "{set}", "--split", "paper", "--arch", "efficientnet_lite0"],
        "original 260 images",
    ),
    "missing weights": (
        ["train", "--data", "{set}", "--weights", "{tmp}/w.pth", *SETTINGS[1:]],
        "w.pth",
    ),
}


@pytest.mark.parametrize(("words", "named"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_status_2_with_its_line(
    alld: Alld, words: list[str], named: str, run_folder: Path, drawn_set: Path, tmp_path: Path
) -> None:
    """The line names the place, what was seen and what to do; standard output stays empty."""
    places = {"tmp": tmp_path, "set": drawn_set, "run": run_folder}
    status, out, err = alld(*(word.format(**places) for word in words))
    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert named in err
    assert "Traceback" not in err
    if "nothing" not in str(words) and words[:2] != ["train", "--data"]:
        assert len(err.splitlines()) == 1


def test_a_place_that_cannot_be_written_is_one_line(
    alld: Alld, run_folder: Path, drawn_set: Path, tmp_path: Path
) -> None:
    """--out below a file, which is no folder: status 2, no traceback."""
    (tmp_path / "file").touch()
    out = tmp_path / "file" / "rows.csv"
    status, _, err = alld("predict", "--model", run_folder, "--out", out, drawn_set / "Im001_1.tif")
    assert status == 2
    assert err.splitlines()[-1].startswith("error: ")


@pytest.mark.parametrize(
    "words",
    [
        ["audit", "{set}", "--out", "new"],
        ["train", "--data", "{set}", "--out", "new", *SETTINGS],
        ["crossval", "--data", "{set}", "--out", "new", *SETTINGS],
        ["predict", "{set}", "--model", "{run}", "--out", "rows.csv"],
        ["evaluate", "{run}", "--data", "{set}"],
        ["export", "{run}", "--out", "cells.onnx"],
    ],
    ids=lambda words: str(words[0]),
)
def test_a_folder_without_permission_is_refused_before_any_work(
    alld: Alld,
    run_folder: Path,
    drawn_set: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
) -> None:
    """One line names the folder; no image is read before."""

    def denied(dir: Path) -> None:
        raise PermissionError(13, "Permission denied")

    def working(*_: object, **__: object) -> None:
        raise AssertionError("an image was read")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("alld.runtime.files.TemporaryFile", denied)
    monkeypatch.setattr("alld.images.decode._decode", working)
    status, _, err = alld(*(word.format(set=drawn_set, run=run_folder) for word in words))
    assert status == 2
    assert "cannot be written to (Permission denied); name another place" in err.splitlines()[-1]


def test_a_tilde_in_any_path_is_the_home_folder(
    alld: Alld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shell expands `--out ~/x` but not `--out=~/x`, which arrives as it is."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    assert alld("synth", "~/drawn", "--n=20")[0] == 0
    assert (tmp_path / "home" / "drawn" / "truth.csv").is_file()
    assert not (tmp_path / "~").exists()


def test_a_truncated_image_in_the_set_is_named(alld: Alld, tmp_path: Path) -> None:
    """A training set with an unreadable file is refused with the file's name."""
    data = draw_all_idb2(tmp_path / "set", per_class=10)
    cut_off = (data / "Im007_1.tif").read_bytes()[:5000]
    for name, content in (("Im008_1.tif", b"just text"), ("Im007_1.tif", cut_off)):
        (data / name).write_bytes(content)
        status, _, err = alld("train", "--data", data, "--out", tmp_path / "run", *SETTINGS)
        assert status == 2
        assert name in err


def test_a_changed_bundle_is_refused(alld: Alld, workplace: Path, drawn_set: Path) -> None:
    """One changed byte: status 2, one line."""
    weights = workplace / "runs" / "first" / "model.alld" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.write_bytes(data)
    status, _, err = alld("predict", drawn_set / "Im001_1.tif")
    assert status == 2
    assert "SHA-256 differs" in err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_commands_help_fits_and_has_an_example(
    alld: Alld, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """At 80 columns; defaults are said in one way, and no internal type is shown."""
    monkeypatch.setenv("COLUMNS", "80")
    status, out, _ = alld(command, "--help")
    assert status == 0
    assert f"Example: alld {command}" in out
    assert "\nOptions:\n" in out
    assert max(map(len, out.splitlines())) <= 80
    assert "[default:" not in out
    assert "<list[" not in out


def test_the_help_says_the_defaults_of_the_settings(alld: Alld) -> None:
    """They are those of the configuration; less common settings have a section of their own."""
    out = " ".join(alld("train", "--help")[1].split())
    assert "(default: grouped)" in out
    assert " Settings: --epochs" in out


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("alld train --arch resn", "resnet50"),
        ("alld train --config qu", "quick"),
        ("alld train --set train.ep", "train.epochs="),
        ("alld tr", "train"),
    ],
)
def test_the_tab_key_completes(words: str, offered: str) -> None:
    """Commands, networks, configurations and settings are offered to the shell."""
    environment = {
        **os.environ,
        "_ALLD_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }
    alld = Path(sys.executable).with_name("alld")
    done = subprocess.run([alld], env=environment, capture_output=True, text=True, check=False)
    assert offered in done.stdout.splitlines()


def test_models_lists_what_arch_may_say(alld: Alld) -> None:
    """The paper's four and the packaged one, and whether their weights are here."""
    status, out, _ = alld("models", "--json")
    infos = {info["name"]: info for info in json.loads(out)}
    assert status == 0
    assert {"vgg16", "vgg19", "resnet34", "resnet50", "efficientnet_lite0"} <= infos.keys()
    assert infos["efficientnet_lite0"]["weights_present"] is True
    assert alld("models")[1].count("\n") > len(infos)


def test_a_damaged_run_is_listed_as_such(alld: Alld, workplace: Path) -> None:
    """`alld runs` lists a run whose run.json cannot be read instead of falling over it."""
    (workplace / "runs" / "second").mkdir()
    halves = ('{"state": "finished"}', '{"state": "running", "data": null}')
    for content in ("{", "[]", "[" * 100_000, *halves):
        (workplace / "runs" / "second" / "run.json").write_text(content)
        status, out, _ = alld("runs", "--json")
        assert status == 0
        assert {row["state"] for row in json.loads(out)} == {"finished", "damaged"}
        assert alld("evaluate", "runs/second")[0] == 2


def test_a_run_with_damaged_settings_is_one_line(alld: Alld, workplace: Path) -> None:
    """Its config.yaml is named, whatever is wrong with it."""
    [run] = (workplace / "runs").iterdir()
    for content in ("train: [", "[" * 50_000, "epochs: 1", "\x00"):
        (run / "config.yaml").write_text(content)
        status, _, err = alld("evaluate", run)
        assert status == 2
        assert len(err.splitlines()) == 1
        assert "config.yaml is damaged" in err


@pytest.mark.parametrize("table", ["text", "csv"])
def test_a_reader_that_leaves_early_is_no_error(
    run_folder: Path, drawn_set: Path, table: str
) -> None:
    """`alld predict ... | head -0` ends with the status that shells know, without a traceback."""
    command = [sys.executable, "-m", "alld", "predict", "--model", str(run_folder)]
    command += [str(drawn_set), "--format", table]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout
    process.stdout.close()
    _, said = process.communicate()
    errors = said.decode()
    assert process.returncode == 141
    assert "Traceback" not in errors
    assert "Exception" not in errors


SIGNALS = [(signal.SIGINT, 130, "Ctrl-C"), (signal.SIGTERM, 143, "SIGTERM")]


@pytest.mark.parametrize(("number", "status", "name"), SIGNALS)
def test_a_signal_in_the_middle_of_an_import_is_one_line(
    tmp_path: Path, number: int, status: int, name: str
) -> None:
    """Libraries choke on an exception there: the command ends at once, with its status."""
    (tmp_path / "slow.py").write_text(
        f"import os, time\nos.kill(os.getpid(), {int(number)})\ntime.sleep(60)\n"
    )
    code = "import signal; from alld.runtime import process\n"
    code += f"signal.signal({int(number)}, process._interrupt)\nimport slow"
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.getcwd()}"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stderr) == (status, f"stopped by {name}\n")


def interrupted(words: list[object], number: int, begun: Callable[[], object]) -> tuple[int, str]:
    """Start a command, send a signal when it has begun; its status and its last line."""
    command = [sys.executable, "-m", "alld", *map(str, words)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not begun():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert "Traceback" not in errors
    return process.returncode, errors.splitlines()[-1]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.parametrize(("number", "status", "name"), SIGNALS)
def test_a_signal_leaves_nothing_half_drawn(
    tmp_path: Path, number: int, status: int, name: str
) -> None:
    """Whichever of the two ends `alld synth`: one line, its status, and an empty place."""
    words = ["synth", tmp_path / "set", "--n", "5000"]
    ended = interrupted(words, number, lambda: list(tmp_path.rglob("*.tif")))
    assert ended == (status, f"stopped by {name}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("number", "status", "_name"), SIGNALS)
def test_a_signal_ends_the_command_resumable(
    drawn_set: Path, tmp_path: Path, number: int, status: int, _name: str
) -> None:
    """Ctrl-C and SIGTERM: their own status and the command that goes on, no traceback."""
    folder = tmp_path / "run"
    words = ["train", "--data", drawn_set, "--out", folder, *SETTINGS, "--set=train.epochs=500"]
    begun = (folder / "checkpoints" / "epoch-001").exists
    found, line = interrupted(words, number, begun)
    assert found == status
    assert f"alld train --resume {folder}" in line
    assert not list(folder.rglob("*.part"))


def test_moved_images_are_found_where_the_user_says(
    alld: Alld, workplace: Path, drawn_set: Path, tmp_path: Path
) -> None:
    """A run says where its images were; --data says where they are; others are refused."""
    run = workplace / "runs" / "first"
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace(str(drawn_set), str(tmp_path / "gone")))
    status, _, err = alld("evaluate", "runs/first")
    assert status == 2
    assert f"{tmp_path / 'gone'}: the images of runs/first were there" in err
    assert alld("evaluate", "runs/first", "--data", drawn_set)[0] == 0
    others = tmp_path / "others"
    shutil.copytree(drawn_set, others)
    (others / "Im001_1.tif").unlink()
    status, _, err = alld("evaluate", "runs/first", "--data", others)
    assert status == 2
    assert "not the images that" in err


def test_the_next_step_after_a_resume_names_the_moved_images(
    alld: Alld, stopped: Path, drawn_set: Path
) -> None:
    """The command that is printed finds them."""
    config = (stopped / "config.yaml").read_text()
    (stopped / "config.yaml").write_text(config.replace(str(drawn_set), "/gone"))
    status, _, err = alld("train", "--resume", stopped, "--data", drawn_set)
    assert status == 0, err
    assert f"next: alld evaluate {stopped} --data {drawn_set}" in err


def test_a_step_of_every_fold_has_its_own_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Reading the images of the second fold did not take since the first one began."""
    clock = iter([0.0, 2.0, 5.0, 5.0, 100.0, 103.0, 103.0, 103.0])
    monkeypatch.setattr(display, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    steps = display.Steps()
    for done in (1, 2, 1, 2):
        steps("reading images", done, 2)
    assert capsys.readouterr().err.splitlines() == [
        "reading images (2 in 5 s)",
        "reading images (2 in 3 s)",
    ]


def test_version(alld: Alld) -> None:
    """--version prints the version of the installed distribution."""
    from importlib import metadata

    assert alld("--version")[:2] == (0, f"alld {metadata.version('alld')}\n")


def test_a_cross_validation_takes_the_settings_of_a_training() -> None:
    """Whoever has trained with an option finds it again; pretraining has those that fit it."""
    named = {
        name: {option.name for option in load_command(name).params}
        for name in ("train", "crossval", "pretrain")
    }
    assert named["train"] <= named["crossval"]
    assert {"batch_size", "lr", "image_size", "epochs", "weights"} <= named["pretrain"]


@pytest.mark.parametrize(
    "words",
    [
        ["train", "--seed", "1", "--seed", "2"],
        ["audit", "set", "--out", "a", "--out", "b"],
        ["evaluate", "run", "--tta", "--no-tta"],
    ],
)
def test_an_option_with_one_value_is_given_once(
    alld: Callable[..., Answer], words: list[str]
) -> None:
    """The last one would win in silence; options that may be repeated stay."""
    status, _, err = alld(*words)
    assert status == 2
    assert "was given 2 times and takes one value" in err
