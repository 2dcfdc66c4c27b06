"""Models fetched by their address: found, pinned, kept, and refused where they must be."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import Answer
from hub import TOKEN, Hub, point_to, serving

import alld as package
from alld.errors import AlldError, BundleError, ConfigError
from alld.evaluation.export import export_hub
from alld.model.bundle import bundle_identity
from alld.model.hub import cache, download
from alld.model.hub.address import parse_address
from alld.model.hub.cache import cached_models, fetch

MODEL = "hf://lab/cells"
ZEROS = "0" * 64


@pytest.fixture(scope="module")
def published(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `alld export --format hub` writes. Read only."""
    return export_hub(run_folder, tmp_path_factory.mktemp("published") / "hub")[0]


@pytest.fixture
def own_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache for each test."""
    monkeypatch.setenv("ALLD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "models"


@pytest.fixture
def hub(published: Path, own_models: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A server that is the Hub, with the published model as lab/cells."""
    with serving(Hub(published)) as site:
        point_to(site, monkeypatch)
        yield site


@pytest.fixture
def identity(published: Path) -> str:
    return bundle_identity(published / "model.alld")


def test_a_model_of_the_hub_predicts_as_the_run_that_was_exported(
    alld: Callable[..., Answer], hub: Hub, run_folder: Path, drawn_set: Path, identity: str
) -> None:
    """Through the command and from Python; every row names the identity."""
    image = drawn_set / "Im001_1.tif"
    status, out, _ = alld("predict", image, "--model", MODEL, "--json", "--device", "cpu")
    assert status == 0
    answer = json.loads(out)
    assert answer["model"]["identity"] == identity
    own = package.load(run_folder, "cpu").predict(image)
    assert package.load(MODEL, "cpu").predict(image) == own
    assert answer["predictions"][0]["probability"] == own[0].as_row()["probability"]
    assert all(path.startswith("/lab/cells/resolve/main/") for path in hub.asked)


def test_a_revision_is_asked_for_by_its_name(hub: Hub) -> None:
    """A branch, tag or commit; one that is not there is no model."""
    fetch(f"{MODEL}@v1")
    assert all(path.startswith("/lab/cells/resolve/v1/") for path in hub.asked)
    with pytest.raises(BundleError, match=r"hf://lab/cells@v2: no model there"):
        fetch(f"{MODEL}@v2")


def test_a_cross_validation_is_fetched_with_all_its_models(
    hub: Hub, validated: Path, tmp_path: Path
) -> None:
    """The export says which bundles it holds, and their mean has one identity."""
    hub.folder, wanted, _ = export_hub(validated, tmp_path / "published")
    fetched = fetch(MODEL)
    assert fetched.identity == wanted
    assert package.load(MODEL, "cpu").members == 4


def test_an_unchanged_model_is_not_downloaded_again(hub: Hub, published: Path) -> None:
    """Its hashes are looked up; a model that changed is fetched beside the old one."""
    first = fetch(MODEL)
    hub.asked.clear()
    assert fetch(MODEL) == first
    assert not [path for path in hub.asked if path.endswith(".safetensors")]


def test_a_pinned_model_in_the_cache_needs_no_network(hub: Hub, identity: str) -> None:
    """By the address or by --require-sha256."""
    first = fetch(MODEL)
    hub.asked.clear()
    assert fetch(f"{MODEL}@sha256:{identity}") == fetch(MODEL, identity) == first
    assert hub.asked == []


def test_another_model_than_the_pinned_one_is_refused_before_its_weights_come(
    hub: Hub, own_models: Path
) -> None:
    """Also if the cache has it; two pins that differ are refused too."""
    for _ in range(2):
        with pytest.raises(BundleError, match=f"not the required {ZEROS}"):
            fetch(f"{MODEL}@sha256:{ZEROS}")
        assert not [path for path in hub.asked if path.endswith(".safetensors")]
    assert not own_models.exists()
    with pytest.raises(ConfigError, match="another identity than --require-sha256"):
        fetch(f"{MODEL}@sha256:{ZEROS}", "1" * 64)


def test_weights_that_are_not_those_of_the_hashes_are_refused(
    hub: Hub, published: Path, own_models: Path, tmp_path: Path
) -> None:
    """One changed byte; nothing of the model stays in the cache."""
    hub.folder = shutil.copytree(published, tmp_path / "changed")
    weights = hub.folder / "model.alld" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(BundleError, match=r"model\.safetensors is not the file of its SHA256SUMS"):
        fetch(MODEL)
    assert list(own_models.iterdir()) == []


def test_a_transfer_that_breaks_off_begins_again(hub: Hub, own_models: Path) -> None:
    """Twice; at the third time the command gives up and leaves nothing behind."""
    hub.breaks = 2
    assert package.load(fetch(MODEL).path, "cpu")
    shutil.rmtree(own_models)
    hub.breaks = 3
    with pytest.raises(BundleError, match=r"broke off 3 times \(\d+ of \d+ bytes came\)"):
        fetch(MODEL)
    assert list(own_models.iterdir()) == []


@pytest.mark.parametrize("endless", [False, True])
def test_a_model_larger_than_the_limit_is_refused(
    hub: Hub, own_models: Path, monkeypatch: pytest.MonkeyPatch, endless: bool
) -> None:
    """By the announced size, and by what comes from a server that announces none."""
    hub.endless = endless
    monkeypatch.setattr(cache, "MOST_BYTES", 10**5)
    with pytest.raises(BundleError, match=r"has more than \d+ bytes; refused"):
        fetch(MODEL)
    assert list(own_models.iterdir()) == []


def test_the_token_opens_a_private_model_and_goes_to_no_other_server(
    hub: Hub, published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Hub leads to other servers for weights, which do not get it."""
    hub.private = True
    with pytest.raises(BundleError, match="not for everybody; set HF_TOKEN"):
        fetch(MODEL)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with serving(Hub(published)) as other:
        hub.cdn = other.address.replace("127.0.0.1", "localhost")
        with pytest.raises(ConfigError, match=r"not https://; refused"):
            fetch(MODEL)  # to another server only by https
        monkeypatch.setattr(download, "SAFE", ("https", "http"))
        fetch(MODEL)
    assert other.tokens == [None]
    assert hub.tokens[-1] == f"Bearer {TOKEN}"


def test_without_a_network_the_last_copy_is_used_and_the_command_says_so(
    alld: Callable[..., Answer], hub: Hub, drawn_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HF_HUB_OFFLINE, a server error, or nobody there."""
    from huggingface_hub import constants

    first = fetch(MODEL)
    hub.status = 503
    assert fetch(MODEL).path == first.path
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert "cannot be reached" in fetch(MODEL).note
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    status, _, err = alld("predict", drawn_set / "Im001_1.tif", "--model", MODEL)
    assert status == 0
    assert "HF_HUB_OFFLINE forbids the network; its copy in the cache is used" in err


def test_without_a_network_and_a_copy_the_error_says_what_to_do(
    alld: Callable[..., Answer], hub: Hub, drawn_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one line and at once; a pinned model is never another copy."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    status, _, err = alld("predict", drawn_set / "Im001_1.tif", "--model", MODEL)
    assert status == 2
    assert err.count("error:") == 1
    assert "127.0.0.1 cannot be reached" in err
    assert "the cache has no such model" in err
    monkeypatch.setattr(constants, "ENDPOINT", hub.address)
    fetch(MODEL)
    hub.status = 503
    with pytest.raises(BundleError, match="the cache has no such model"):
        fetch(MODEL, ZEROS)


def test_an_altered_copy_in_the_cache_is_fetched_anew(hub: Hub) -> None:
    """Its folder is its identity."""
    fetched = fetch(MODEL)
    sums = fetched.path / "model.alld" / "SHA256SUMS"
    text = sums.read_text()
    sums.write_text(text.replace(text[0], "0" if text[0] != "0" else "1", 1))
    assert fetch(MODEL) == fetched
    assert sums.read_text() == text


def test_a_folder_of_the_web_is_fetched_as_the_hubs(
    hub: Hub, own_models: Path, identity: str
) -> None:
    """The folder of an export, or a bundle alone under any name; over http only if it is pinned."""
    folder = f"{hub.address}/lab/cells/resolve/main"
    with pytest.raises(ConfigError, match="anybody on the way can change what comes by http"):
        fetch(folder)
    assert fetch(f"{folder}@sha256:{identity}").identity == identity
    shutil.rmtree(own_models)
    fetched = fetch(f"{folder}/model.alld/@sha256:{identity}")
    assert package.load(fetched.path, "cpu").identity == identity


def test_the_models_in_the_cache_are_listed(
    alld: Callable[..., Answer], hub: Hub, identity: str
) -> None:
    """With their address, identity, network and SYNTHETIC where that is true."""
    assert cached_models() == []
    fetched = fetch(f"{MODEL}@v1")
    status, out, _ = alld("models", "--trained")
    assert status == 0
    line = next(line for line in out.splitlines() if identity[:12] in line)
    assert "hf://lab/cells@v1" in line
    assert "SYNTHETIC" in line
    _, out, _ = alld("models", "--trained", "--json")
    [entry] = json.loads(out)
    assert (entry["identity"], entry["path"]) == (identity, str(fetched.path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hf://cells", "is no model of the Hub"),
        ("hf://lab/../cells", "is no model of the Hub"),
        ("hf://lab/cells/model.alld", "is no model of the Hub"),
        ("hf://lab/cells@sha256:12ab", "64 hexadecimal digits"),
        ("https://", "is no address of a folder"),
        ("https://host:port/x", "is no address of a folder"),
        ("https://host/x?token=1", "is no address of a folder"),
        ("https://host/x\n", "is no address of a folder"),
        ("https://host/cells.onnx", "an exported file; download it"),
    ],
)
def test_what_is_no_address_of_a_model_is_said_in_one_line(text: str, message: str) -> None:
    """Before anything is asked of a server."""
    with pytest.raises(ConfigError, match=message) as raised:
        parse_address(text)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "index",
    ['{"bundles": ["../x"]}', '{"bundles": []}', '{"bundles": [1]}', "[]", "{", '{"bundles": 1}'],
)
def test_a_folder_that_names_odd_bundles_is_refused(
    hub: Hub, published: Path, own_models: Path, tmp_path: Path, index: str
) -> None:
    """No name leads out of the cache."""
    hub.folder = shutil.copytree(published, tmp_path / "odd")
    (hub.folder / "config.json").write_text(index)
    with pytest.raises(BundleError, match=r"config\.json is not what `alld export"):
        fetch(MODEL)
    assert not own_models.exists()


@pytest.mark.parametrize("line", ["../x", "a b", "SHA256SUMS", "x/y"])
def test_hashes_of_odd_names_are_refused(
    hub: Hub, published: Path, own_models: Path, tmp_path: Path, line: str
) -> None:
    """A bundle's files lie in its folder."""
    hub.folder = shutil.copytree(published, tmp_path / "odd")
    with (hub.folder / "model.alld" / "SHA256SUMS").open("a") as file:
        file.write(f"{ZEROS}  {line}\n")
    with pytest.raises(AlldError, match="SHA256SUMS is not that of a bundle"):
        fetch(MODEL)
    assert not own_models.exists() or list(own_models.iterdir()) == []


def test_an_older_export_without_the_list_of_bundles_is_read(
    hub: Hub, published: Path, tmp_path: Path, identity: str
) -> None:
    """It has one bundle, model.alld; so has a folder without config.json."""
    hub.folder = shutil.copytree(published, tmp_path / "older")
    config = hub.folder / "config.json"
    content = json.loads(config.read_text())
    assert content.pop("bundles") == ["model.alld"]
    config.write_text(json.dumps(content))
    assert fetch(MODEL).identity == identity
    config.unlink()
    assert fetch(MODEL).identity == identity
