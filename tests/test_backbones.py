"""The architectures of --arch, the models they make, and where their weights come from."""

import pickle
import subprocess
import sys
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import safetensors.torch
import timm
import torch
import torchvision
from hostile.bundles import Canary
from torch import Tensor, nn

from alld.errors import ConfigError
from alld.model.architectures import (
    NAMES,
    list_architectures,
    normalisation,
    packaged_lite0,
    torch_checkpoints,
)
from alld.model.backbones import Body, create_model, layer_groups
from alld.model.heads import create_head
from alld.model.torch_network import fold_batch_norm

# One of each kind that timm returns: grid, channels last, tokens. All are drawn for timm's tests.
TIMM = ("timm:test_resnet", "timm:test_mambaout", "timm:test_vit")
NO_NUMBERS = "1 without real, finite numbers (conv1.weight)"
# The last parameter before fastai's cut, and the first after it.
CUTS = {
    "vgg16": ("features.21.bias", "features.24.weight"),
    "vgg19": ("features.21.bias", "features.23.weight"),
    "vgg16_bn": ("features.21.bias", "features.24.weight"),
    "vgg19_bn": ("features.21.bias", "features.23.weight"),
    "resnet18": ("layer2.1.bn2.bias", "layer3.0.conv1.weight"),
    "resnet34": ("layer2.3.bn2.bias", "layer3.0.conv1.weight"),
    "resnet50": ("layer2.3.bn3.bias", "layer3.0.conv1.weight"),
    "efficientnet_lite0": ("blocks.2.1.bn3.bias", "blocks.3.0.conv_pw.weight"),
    "efficientnet_lite0_early": ("blocks.1.1.bn3.bias", "blocks.2.0.conv_pw.weight"),
    "timm:test_resnet": ("layer2.0.downsample.2.bias", "layer3.0.conv1.weight"),
    "timm:test_mambaout": ("stages.1.blocks.0.ls.gamma", "stages.2.downsample.norm.weight"),
    "timm:test_vit": ("blocks.2.mlp.fc2.bias", "blocks.3.norm1.weight"),
}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """On a busy machine two threads wait for each other and small networks take 30 times longer."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module", params=NAMES + TIMM)
def arch(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def model(arch: str) -> nn.Sequential:
    torch.manual_seed(0)
    return create_model(arch, pretrained=False)


@pytest.fixture(scope="module")
def resnet18() -> nn.Module:
    torch.manual_seed(1)
    network: nn.Module = torchvision.models.resnet18()
    return network


def _images(model: nn.Sequential) -> Tensor:
    body = model[0]
    assert isinstance(body, Body)
    torch.manual_seed(2)
    return torch.rand(2, 3, *(body.image_size or (64, 64)))


def _body(model: nn.Sequential) -> nn.Module:
    return model[0].get_submodule("network")


def test_model_gives_two_logits_and_trains_every_parameter(arch: str, model: nn.Sequential) -> None:
    """The body returns its channels as a grid, the head two logits, and no parameter is idle."""
    images = _images(model)
    features = model[0](images)
    logits = model[1](features)
    assert features.ndim == 4
    assert features.shape[1] == model[0].channels
    assert logits.shape == (2, 2)
    logits.sum().backward()
    idle = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert idle == []


def test_layer_groups_partition_the_parameters(arch: str, model: nn.Sequential) -> None:
    """Early body, late body and head hold each parameter once, cut where CUTS says."""
    names = {id(parameter): name for name, parameter in _body(model).named_parameters()}
    groups = [[id(parameter) for parameter in group] for group in layer_groups(model)]
    assert sorted(chain(*groups)) == sorted(map(id, model.parameters()))
    assert groups[2] == list(map(id, model[1].parameters()))
    assert (names[groups[0][-1]], names[groups[1][0]]) == CUTS[arch]


def test_a_model_can_be_stored_and_listed(arch: str, model: nn.Sequential) -> None:
    """safetensors refuses tensors that share memory; `alld models` has the count of parameters."""
    places = [tensor.data_ptr() for tensor in model.state_dict().values() if tensor.numel()]
    assert len(places) == len(set(places))
    parameters = sum(parameter.numel() for parameter in model.parameters())
    listed = {info.name: info.parameters for info in list_architectures()}
    assert listed.get(arch, parameters) == parameters


def test_listed_files_are_torchvisions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files, addresses and the folder that are found without torch are torch's own."""
    monkeypatch.delenv("TORCH_HOME", raising=False)
    for info in list_architectures():
        if info.source == "torchvision":
            weights = torchvision.models.get_model_weights(info.name).IMAGENET1K_V1
            assert info.address == weights.url
            assert info.weights_file == Path(weights.url).name
    for name, folder in (("XDG_CACHE_HOME", "cache"), ("TORCH_HOME", "home")):
        monkeypatch.setenv(name, str(tmp_path / folder))
        assert torch_checkpoints() == Path(torch.hub.get_dir(), "checkpoints")


def test_head_is_fastais() -> None:
    """Same seed, same layers, shapes and initial numbers as fastai's head, bit for bit."""
    from fastai.vision.learner import add_head

    torch.manual_seed(3)
    theirs = add_head(nn.Identity(), 40, 2)[1]
    torch.manual_seed(3)
    ours = create_head(40)
    assert [type(layer).__name__ for layer in ours] == [type(layer).__name__ for layer in theirs]
    assert [layer.p for layer in ours if isinstance(layer, nn.Dropout)] == [0.25, 0.5]
    pairs = zip(ours.state_dict().items(), theirs.state_dict().items(), strict=True)
    for (name, tensor), (their_name, their_tensor) in pairs:
        assert name == their_name
        assert torch.equal(tensor, their_tensor)
    features = torch.rand(2, 40, 3, 3)
    assert torch.equal(ours.eval()(features), theirs.eval()(features))


@pytest.mark.parametrize("arch", ["resnet34", "vgg16"])
def test_body_and_groups_are_fastais(arch: str) -> None:
    """fastai's cut and split of the same network give the same features and the same groups."""
    from fastai.vision import learner

    split = {"resnet34": learner._resnet_split, "vgg16": learner._vgg_split}[arch]
    ours = create_model(arch, pretrained=False).eval()
    network = torchvision.models.get_model(arch)
    theirs = nn.Sequential(learner.create_body(network, pretrained=False, cut=-2), create_head(512))
    theirs.eval()
    state = zip(theirs.state_dict(), ours.state_dict().values(), strict=True)
    theirs.load_state_dict(dict(state))
    images = torch.rand(2, 3, 64, 64)
    assert torch.equal(ours[0](images), theirs[0](images))
    for our_group, their_group in zip(layer_groups(ours), split(theirs), strict=True):
        assert [p.shape for p in our_group] == [p.shape for p in their_group]


def test_packaged_weights_of_lite0_are_loaded() -> None:
    """efficientnet_lite0's pretrained tensors are the installed file's, classifier aside."""
    file = packaged_lite0()
    assert file is not None
    packaged = torch.load(file, weights_only=True)
    network = _body(create_model("efficientnet_lite0", pretrained=True))
    random = _body(create_model("efficientnet_lite0", pretrained=False))
    loaded = list(network.state_dict().values())
    assert len(loaded) == len(packaged) - 2
    assert all(torch.equal(a, b) for a, b in zip(loaded, packaged.values(), strict=False))
    stem = packaged["_conv_stem.weight"]
    assert not torch.equal(random.state_dict()["conv_stem.weight"], stem)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("resnet43", "did you mean.*resnet34"),
        ("efficientnet_lite", "did you mean.*efficientnet_lite0"),
        ("vgg16bn", f"did you mean.*vgg16_bn.*{', '.join(NAMES)}"),
        ("timm:resnet10", "did you mean.*timm:resnet10t"),
        ("timm:", "timm lists no model"),
        ("timm:hf-hub:timm/resnet18", "timm lists no model"),
        ("timm:local-dir:/tmp", "timm lists no model"),
        ("timm:torch.nn.Linear", "timm lists no model"),
        ("timm:levit_128s", "features of timm:levit_128s are no grid"),
    ],
)
def test_what_is_no_architecture_is_refused(name: str, reason: str) -> None:
    """The nearest names are offered; hub ids, folders and import paths are not accepted."""
    with pytest.raises(ConfigError, match=reason):
        create_model(name, pretrained=False)


def test_names_are_checked_without_torch() -> None:
    """The command line checks and lists names before anything heavy is imported."""
    code = (
        "import sys; from alld.model.architectures import *; check_arch('vgg16'); "
        "list_architectures(); normalisation('resnet50'); "
        "print([name for name in ('torch', 'torchvision', 'timm') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_normalisation_is_that_of_the_weights() -> None:
    """ImageNet's numbers for torchvision, a half for lite0, timm's own settings for timm."""
    imagenet = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    assert normalisation("resnet50") == imagenet
    assert normalisation("efficientnet_lite0") == ((0.5,) * 3, (0.5,) * 3)
    assert normalisation("timm:tf_efficientnet_lite0") == ((0.5,) * 3, (0.5,) * 3)
    assert normalisation("timm:resnet10t") == imagenet


def test_timm_model_is_made_where_gradients_are_off() -> None:
    """Serving makes models under no_grad; they are the same, without timm's classifier."""
    with torch.no_grad():
        model = create_model("timm:test_resnet", pretrained=False)
    assert [name for name in model.state_dict() if "fc." in name] == []
    assert model[0].training


def test_fixed_image_size_is_named() -> None:
    """A vision transformer of 160 px refuses 64 px in words."""
    model = create_model("timm:test_vit", pretrained=False).eval()
    with pytest.raises(ConfigError, match="160x160 pixels only, and got 64x64"):
        model(torch.zeros(1, 3, 64, 64))


def test_tokens_keep_their_places() -> None:
    """A vision transformer's tokens are laid out row by row, without the class token."""
    body = create_model("timm:test_vit", pretrained=False)[0].eval()
    network: Any = body.network
    images = torch.rand(1, 3, 160, 160)
    tokens = network.forward_features(images)  # (1, 1 + 10 * 10, C)
    assert torch.equal(body(images)[0, :, 2, 3], tokens[0, 1 + 2 * 10 + 3])


@pytest.fixture
def no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty caches, and a network where no name resolves; the torch.hub folder."""

    def unreachable(*_: object, **__: object) -> None:
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    monkeypatch.setattr(torch.hub, "urlopen", unreachable)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    return tmp_path / "torch" / "hub" / "checkpoints"


@pytest.mark.parametrize(
    ("arch", "address"),
    [
        ("resnet18", "https://download.pytorch.org/models/resnet18-f37072fd.pth"),
        (
            "timm:test_vit",
            "https://huggingface.co/timm/test_vit.r160_in1k/resolve/main/model.safetensors",
        ),
    ],
)
def test_failed_download_says_how_to_do_without(
    arch: str, address: str, no_network: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line names the file, its address and the two options; nothing else is printed."""
    with pytest.raises(ConfigError) as error:
        create_model(arch, pretrained=True)
    message = str(error.value)
    assert "\n" not in message
    advice = ("--weights FILE", "--no-pretrained", "not known")
    assert all(part in message for part in (arch, address, Path(address).name, *advice))
    assert capsys.readouterr() == ("", "")


def test_no_weights_are_got_elsewhere(no_network: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """HF_HUB_OFFLINE=1 is obeyed, and a network without published weights is named."""
    with pytest.raises(ConfigError, match="publishes no weights for darknet17"):
        create_model("timm:darknet17", pretrained=True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigError, match="HF_HUB_OFFLINE is set"):
        create_model("timm:test_vit", pretrained=True)


def test_cached_torchvision_weights_need_no_network(no_network: Path, resnet18: nn.Module) -> None:
    """A file in torch.hub's folder is loaded as it is, old counters or not."""
    no_network.mkdir(parents=True)
    state = {k: v for k, v in resnet18.state_dict().items() if "num_batches" not in k}
    torch.save(state, no_network / "resnet18-f37072fd.pth")
    network = _body(create_model("resnet18", pretrained=True))
    assert torch.equal(
        network.state_dict()["layer4.1.conv2.weight"], state["layer4.1.conv2.weight"]
    )


def test_cached_timm_weights_need_no_network(no_network: Path) -> None:
    """A file in the hub's cache is loaded without asking the hub."""
    torch.manual_seed(4)
    state = timm.create_model("test_vit").state_dict()
    folder = Path(huggingface_hub.constants.HF_HUB_CACHE, "models--timm--test_vit.r160_in1k")
    (folder / "snapshots" / "abc").mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("abc")
    safetensors.torch.save_file(state, folder / "snapshots" / "abc" / "model.safetensors")
    network = _body(create_model("timm:test_vit", pretrained=True))
    assert torch.equal(network.state_dict()["norm.weight"], state["norm.weight"])
    assert torch.equal(network.state_dict()["cls_token"], state["cls_token"])


@pytest.mark.parametrize("kind", ["plain.pth", "nested.pt", "parallel.bin", "plain.safetensors"])
def test_weights_of_the_users_are_loaded(kind: str, tmp_path: Path, resnet18: nn.Module) -> None:
    """Each accepted form of a file fills the whole body and leaves the head as it was made."""
    file, state = tmp_path / kind, resnet18.state_dict()
    if kind == "nested.pt":
        torch.save({"epoch": 3, "state_dict": state}, file)
    elif kind == "parallel.bin":
        torch.save({"model": {f"module.{k}": v for k, v in state.items()}}, file)
    elif kind == "plain.pth":
        torch.save(state, file)
    else:
        safetensors.torch.save_file({k: v for k, v in state.items() if "fc." not in k}, file)
    model = create_model("resnet18", pretrained=True, weights=file)
    loaded = _body(model).state_dict()
    assert len(loaded) == len(state) - 2
    assert all(torch.equal(tensor, state[name]) for name, tensor in loaded.items())


def _misfit(state: dict[str, Tensor]) -> dict[str, Tensor]:
    others = {name: tensor for name, tensor in state.items() if name != "conv1.weight"}
    return {**others, "extra.weight": state["conv1.weight"], "bn1.bias": torch.zeros(3)}


@pytest.mark.parametrize(
    ("change", "reasons"),
    [
        (
            _misfit,
            (
                "1 missing (conv1.weight)",
                "1 unexpected (extra.weight)",
                "1 of another shape (bn1.bias)",
            ),
        ),
        (lambda s: {"conv1.weight": s["conv1.weight"] * float("nan")}, (NO_NUMBERS,)),
        # torch would fail with lines of its own, or leave the imaginary part out.
        (lambda s: {"conv1.weight": s["conv1.weight"].to("meta")}, (NO_NUMBERS,)),
        (lambda s: {"conv1.weight": s["conv1.weight"].to(torch.complex64)}, (NO_NUMBERS,)),
        (lambda _: {"\x1b[2J\n": torch.zeros(1)}, ("1 unexpected",)),
        # Of two tensors that end up with one name the last would win.
        (lambda s: {"module.conv1.weight": s["conv1.weight"]}, ("names a tensor twice",)),
    ],
    ids=["misfit", "nan", "meta", "complex", "terminal", "twice"],
)
def test_weights_that_do_not_fit_are_counted_and_named(
    change: Callable[[dict[str, Tensor]], dict[str, Tensor]],
    reasons: tuple[str, ...],
    tmp_path: Path,
    resnet18: nn.Module,
) -> None:
    """One printable line has the number of tensors of each fault, and the first names."""
    state = resnet18.state_dict()
    changed = change(state)
    torch.save(changed if change is _misfit else {**state, **changed}, tmp_path / "x.pth")
    with pytest.raises(ConfigError) as caught:
        create_model("resnet18", pretrained=False, weights=tmp_path / "x.pth")
    assert str(caught.value).isprintable()
    for reason in reasons:
        assert reason in str(caught.value)


def test_a_packed_weights_file_is_refused_unpacked(tmp_path: Path, resnet18: nn.Module) -> None:
    """torch packs none of its own; a megabyte of a packed one fills a gigabyte of memory."""
    plain = tmp_path / "plain.pth"
    torch.save(resnet18.state_dict(), plain)
    with (
        zipfile.ZipFile(plain) as parts,
        zipfile.ZipFile(tmp_path / "x.pth", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for part in parts.infolist():
            data = parts.read(part) if part.file_size < 1000 else bytes(part.file_size)
            packed.writestr(part.filename, data)
    with pytest.raises(ConfigError, match="nothing in it was run") as caught:
        create_model("resnet18", pretrained=False, weights=tmp_path / "x.pth")
    assert str(caught.value.__cause__) == "packed"


NO_WEIGHTS: dict[str, Callable[[Path], object]] = {
    "text": lambda file: file.write_text("these are no weights\n" * 9),
    "model": lambda file: torch.save(nn.Linear(2, 2), file),
    "list": lambda file: torch.save([torch.zeros(2)], file),
    "empty": lambda file: file.write_bytes(b""),
    "absent": lambda file: None,
}


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors", ".txt"])
@pytest.mark.parametrize("kind", NO_WEIGHTS)
def test_what_is_no_weights_file_is_refused_in_a_line(
    kind: str, suffix: str, tmp_path: Path
) -> None:
    """One line names the file."""
    file = tmp_path / f"x{suffix}"
    NO_WEIGHTS[kind](file)
    reason = "no such file" if kind == "absent" else ""
    with pytest.raises(ConfigError, match=rf"weights file .*x{suffix}: {reason}") as error:
        create_model("resnet18", pretrained=False, weights=file)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("writer", ["pickle", "torch"])
def test_code_in_a_weights_file_is_never_run(nested: bool, writer: str, tmp_path: Path) -> None:
    """A pickle that would run code is rejected before it does."""
    sung, file = tmp_path / "sung", tmp_path / "canary.pth"
    content = {"conv1.weight": Canary(sung)} if nested else Canary(sung)
    if writer == "pickle":
        file.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, file)
    with pytest.raises(ConfigError, match="nothing in it was run"):
        create_model("resnet18", pretrained=False, weights=file)
    assert not sung.exists()


def norms(model: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())


def with_statistics(model: nn.Sequential) -> nn.Sequential:
    """Running means and variances, weights and biases that are not those of a new layer."""
    torch.manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            state = module.state_dict()  # shares its memory with the module
            for name in ("weight", "running_var"):
                nn.init.uniform_(state[name], 0.5, 1.5)
            for name in ("bias", "running_mean"):
                nn.init.normal_(state[name], std=0.1)
    return model.eval()


@pytest.mark.parametrize("arch", ["efficientnet_lite0", "resnet18", "vgg16_bn"])
def test_a_folded_network_gives_the_same_logits(arch: str) -> None:
    """It is a copy without batch norm in its body; logits agree to 1e-4 of their size."""
    model = with_statistics(create_model(arch, pretrained=False))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    folded = fold_batch_norm(model, 64)
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    images = torch.randn(3, 3, 64, 64)
    assert norms(model) > 10
    assert norms(folded) == 0
    with torch.inference_mode():
        expected = model(images)
        torch.testing.assert_close(folded(images), expected, rtol=1e-4, atol=1e-4)
    assert expected.std() > 0.01


class Crossed(nn.Module):
    """A network whose batch norm stands behind a convolution and is used before it."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.convolution(self.norm(images))
        return found.mean((2, 3))


def test_where_folding_would_change_the_answer_the_model_stays_as_it_is() -> None:
    """The order in which layers are registered is a guess; the logits decide."""
    model = with_statistics(nn.Sequential(Crossed()))
    assert fold_batch_norm(model, 32) is model
    assert norms(model) == 1
