"""The README and its pages do what they say: each of their commands is run here, in their order."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY, SMALL
from drawn import draw_c_nmc, draw_preliminary
from hub import Hub, point_to, serving
from serving import client_of, served
from untrained import write_untrained

from alld import commands
from alld.cli import run_command
from alld.config.files import load_config
from alld.data.manifest import LABEL_NAMES
from alld.evaluation.export import export_hub
from alld.synthetic.fields import draw_fields
from alld.synthetic.plan import Recipe

PAGES = (REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md")))
README = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
COMMANDS = re.findall(r"^    ((?:alld|python3) .*)$", README, flags=re.MULTILINE)
FAST = [f"--set={key}={value}" for key, value in SMALL.items()]
# What makes a command quick; later options win.
SMALLER = {
    "train": FAST[1:],
    "crossval": FAST[1:],
    "synth": ["--n", "20"],
    "pretrain": [*FAST, "--epochs", "1"],
}


@pytest.fixture(scope="module")
def reader(
    drawn_set: Path, run_folder: Path, validated: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """What a reader of the README has: a set, images to predict, a run and another one."""
    folder = tmp_path_factory.mktemp("reader")
    shutil.copytree(drawn_set, folder / "ALL-IDB2")
    (folder / "cells").mkdir()
    (folder / "slides").mkdir()
    for name, label in (("one", 1), ("other", 0)):
        images = sorted(drawn_set.glob(f"*_{label}.tif"))
        (folder / "other-cells" / name).mkdir(parents=True)
        for image in images[:8]:
            shutil.copy(image, folder / "other-cells" / name)
        sorted_cells = folder / "cells-of-two-kinds" / LABEL_NAMES[label]
        sorted_cells.mkdir(parents=True)
        for number, image in enumerate(images):
            shutil.copy(image, sorted_cells / f"{number}.tif")
    for name in ("cell.tif", "a.tif", "b.tif"):
        shutil.copy(drawn_set / "Im001_1.tif", folder / name)
    shutil.copy(drawn_set / "Im002_1.tif", folder / "cells" / "one.tif")
    shutil.copy(drawn_set / "Im003_1.tif", folder / "slides" / "two.png")
    draw_c_nmc(folder / "C-NMC" / "C-NMC_training_data", subjects=6, cells=2)
    draw_preliminary(folder / "C-NMC", [f"UID_{n}_1_1_all.bmp" for n in range(57, 62)])
    draw_c_nmc(folder / "other-lab", subjects=4, cells=1, seed=1)
    shutil.copytree(run_folder, folder / "runs" / "OTHER")
    shutil.copytree(validated, folder / "runs" / "CV")
    run = folder / "runs" / "RUN"
    shutil.copytree(run_folder, run)
    # The reader's images are real ones: without a name the newest run on such answers.
    facts = (run / "run.json").read_text()
    (run / "run.json").write_text(facts.replace('"synthetic": true', '"synthetic": false'))
    (folder / "archive.csv").write_text("path\ncell.tif\ncells/one.tif\ncell.tif\n")
    write_untrained(folder / "mapped", 96)
    draw_fields(folder / "patients", Recipe(n=2), shape=(400, 600))
    return folder


@pytest.fixture(scope="module")
def hub(reader: Path) -> Iterator[Hub]:
    """A server that has the reader's run as lab/cells."""
    folder, _, _ = export_hub(reader / "runs" / "RUN", reader / "published")
    with serving(Hub(folder)) as site:
        yield site


def alld_commands() -> list[list[str]]:
    """Each line once, however many pages show it."""
    return [shlex.split(line)[1:] for line in dict.fromkeys(COMMANDS) if line.startswith("alld ")]


def finite_commands() -> list[list[str]]:
    """Those that end by themselves."""
    return [words for words in alld_commands() if words[0] != "serve"]


def slow_where_spread(words: list[str]) -> Any:
    """Ray takes long to start, and is not installed everywhere."""
    return pytest.param(words, marks=[pytest.mark.slow] if "--engine" in words else [])


@pytest.mark.parametrize("words", [*map(slow_where_spread, finite_commands())], ids=" ".join)
def test_every_command_of_the_readme_runs(
    words: list[str],
    reader: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    """Word for word; only trainings are made small, and a finished run is not resumed again."""
    # Not imported: whether a token is wanted is settled by the environment of Ray's import.
    if "--engine" in words and find_spec("ray") is None:
        pytest.skip("needs ray: pip install ray")
    monkeypatch.chdir(reader)
    if words[:2] == ["train", "--resume"]:
        assert run_command(words) == 2  # finished: test_training resumes the unfinished
        return
    if "session" in words:
        assert run_command(words) == 2  # drawn images know no camera: test_domains has such a set
        return
    if any(word.startswith("hf://") for word in words):
        hub = request.getfixturevalue("hub")  # a server of this machine
        point_to(hub, monkeypatch)
    # The runs are of 32 px, which leaves one place: too few for a map.
    mapped = ["--model", str(reader / "mapped")] if "--explain" in words else []
    fewer = {"--folds": "2", "--repeats": "1", "--fields": "1"}
    words = [fewer.get(before, word) for before, word in zip(["", *words], words, strict=False)]
    smaller = [] if "--fields" in words else SMALLER.get(words[0], [])
    assert run_command([*words, *smaller, *mapped]) == 0


def test_the_readme_names_every_command() -> None:
    """No command of ALLD is left out, and the two of the bootstrap are there."""
    named = {words[0] for words in alld_commands()}
    assert commands.COMMANDS.keys() - named == {"demo"}  # bootstrap.py demo runs it
    scripts = [line.removeprefix("python3 scripts/") for line in COMMANDS if "scripts/" in line]
    assert scripts == [
        "bootstrap.py demo",
        "bootstrap.py test",
        "bootstrap.py docs",  # test_docs_site builds it
        "benchmark.py --data ALL-IDB2",  # test_benchmark runs it with --quick
        "reproduce_table2.py --data ALL-IDB2 --dry-run",
        "reproduce_table1.py --data ALL-IDB2",  # test_table1 runs it with --quick
    ]


def test_the_readme_can_be_read_in_a_few_minutes() -> None:
    """What it says at length stands in docs/."""
    assert len((REPOSITORY / "README.md").read_text(encoding="utf-8").split()) <= 900


def test_the_server_answers_as_the_readme_says(reader: Path) -> None:
    """`alld serve`, each curl command and the Python example, but for the port."""
    curls = re.findall(r"^    (curl .*)$", README, flags=re.MULTILINE)
    python = re.search(r"```python\nimport json\n(.*?)```", README, flags=re.DOTALL)
    assert python
    with served(folder=reader) as (_, address):
        host = f"127.0.0.1:{client_of(address).port}"
        for line in curls if shutil.which("curl") else []:
            words = shlex.split(line.replace("127.0.0.1:8000", host))
            done = subprocess.run(words, cwd=reader, capture_output=True, text=True, check=True)
            answer = json.loads(done.stdout)
            rows = answer if isinstance(answer, list) else [answer]
            assert [row["threshold"] for row in rows] == [0.5] * max(1, words.count("-F"))
        example = "import json\n" + python[1].replace("127.0.0.1:8000", host)
        command = [sys.executable, "-c", example]
        done = subprocess.run(command, cwd=reader, capture_output=True, text=True, check=True)
    assert re.match(r"(blast|healthy|uncertain|out of domain) [\d.e-]+ ", done.stdout)
    assert len(curls) == 3


@pytest.mark.parametrize(
    "words", [words for words in alld_commands() if words[0] == "serve" and len(words) > 1]
)
def test_other_machines_reach_the_server_as_the_readme_says(words: list[str], reader: Path) -> None:
    """With the token and not without."""
    with served(*words[1:], folder=reader) as (_, address):
        client = client_of(address)
        assert client.ask("/model").status == 401
        allowed = {"Authorization": f"Bearer {words[-1]}"}
        assert client.ask("/model", headers=allowed).json["notice"]


def test_the_plan_of_table_2_is_printed_as_the_readme_says(reader: Path) -> None:
    """Eleven cells for each of the paper's four networks, with a time for all of it."""
    script = REPOSITORY / "scripts" / "reproduce_table2.py"
    words = [sys.executable, str(script), "--data", "ALL-IDB2", "--dry-run"]
    words += ["--set", "data.image_size=32"]
    done = subprocess.run(words, cwd=reader, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert len(lines) == 4 * 11 + 1
    assert lines[-1].startswith("in all about")


def test_bootstrap_explains_itself_with_the_standard_library_alone() -> None:
    """It runs isolated from every installed package."""
    script = REPOSITORY / "scripts" / "bootstrap.py"
    done = subprocess.run(
        [sys.executable, "-I", "-S", script, "--help"], capture_output=True, text=True, check=True
    )
    assert "demo" in done.stdout
    assert "test" in done.stdout


@pytest.mark.long
def test_the_demo_goes_the_whole_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`alld demo` draws, trains, evaluates and predicts three; a second one replaces the first."""
    import alld.demo

    monkeypatch.chdir(tmp_path)
    small = {"data.image_size": 32, "train.epochs": 1}
    monkeypatch.setattr(alld.demo, "Recipe", lambda seed, n=40: Recipe(n=n))
    monkeypatch.setattr(
        alld.demo, "load_config", lambda name, options: load_config(name, options=options | small)
    )
    for _ in range(2):
        assert run_command(["demo"]) == 0
    shown, said = capsys.readouterr()
    verdicts = re.findall(r"SYNTHETIC (blast|healthy|uncertain|out of domain) +P\(blast\)", shown)
    assert len(verdicts) == 6
    assert "SYNTHETIC: efficientnet_lite0" in shown
    assert shown.count("SYNTHETIC sample-01: ") == 2
    assert (tmp_path / "runs" / "demo" / "screen" / "report.html").is_file()
    assert (tmp_path / "runs" / "demo" / "run" / "evaluation" / "table.md").is_file()
    [after] = set(re.findall(r"next: alld (predict .+)", said))
    assert run_command(shlex.split(after)) == 0
    assert capsys.readouterr().out.count("demo/images/Im") == 40
    assert run_command(["evaluate"]) == 2
    [named] = re.findall(r"the SYNTHETIC runs/demo/run: `alld (.+)`", capsys.readouterr().err)
    assert run_command([*shlex.split(named), "--no-heat-maps"]) == 0
    (tmp_path / "runs" / "demo" / "mine.txt").touch()
    assert run_command(["demo"]) == 2


def test_the_python_example_is_the_packages_own() -> None:
    """The README and the package's docstring show the same lines; test_api runs them."""
    import alld

    example = re.search(r"```python\nimport alld\n\n(.*?)```", README, flags=re.DOTALL)
    assert example
    in_package = re.sub(r"\s+", " ", alld.__doc__ or "").replace('"images"', '"ALL-IDB2"')
    assert re.sub(r"\s+", " ", example.group(1)).strip() in in_package


def test_no_link_within_the_readme_and_its_pages_is_dead() -> None:
    """Whatever is no address of the web is a file or folder here, and a heading if it says so."""
    for page in (*PAGES, REPOSITORY / "CONTRIBUTING.md"):
        for link in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
            if link.startswith("https://"):
                continue
            name, _, heading = link.partition("#")
            target = page.parent / name if name else page
            assert target.exists(), f"{page.name}: {link}"
            if heading:
                titles = re.findall(
                    r"^#+ (.+)$", target.read_text(encoding="utf-8"), flags=re.MULTILINE
                )
                anchors = {
                    re.sub(r"[^a-z0-9 -]", "", one.lower()).replace(" ", "-") for one in titles
                }
                assert heading in anchors, f"{page.name}: {link}"
