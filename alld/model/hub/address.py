"""The addresses of trained models: `hf://owner/name[@revision]` and `https://host/folder`.

Either may end in `@sha256:` and the identity of the model, which pins it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit

from alld.errors import ConfigError
from alld.runtime.files import one_line

BUNDLE = "model.alld"
_SCHEMES = ("hf://", "https://", "http://")
_PIN = re.compile(r"(.+?)@sha256:(.*)", flags=re.DOTALL)
_PART = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
_REPOSITORY = re.compile(rf"({_PART}/{_PART})(?:@([A-Za-z0-9._/-]{{1,200}}))?")


@dataclass(frozen=True)
class Address:
    """Where the files of a model are.

    `text` is the address without the identity, `base` what names of files are appended to. `bundle`
    is the name of the one bundle there, or None where the folder says what it holds.
    """

    text: str
    base: str
    sha256: str | None = None
    bundle: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)  # may hold a token
    offline: str = ""  # the variable of the environment that forbids the network


def is_address(text: str) -> bool:
    """Return whether this names a model on another computer, and no file."""
    return text.startswith(_SCHEMES)


def parse_address(text: str) -> Address:
    """Read an address.

    Raises:
        ConfigError: another form, or plain `http://` without an identity.
    """
    place, sha256 = text, None
    if found := _PIN.fullmatch(text):
        place, sha256 = found[1], found[2].lower()
        if not re.fullmatch(r"[0-9a-f]{64}", sha256):
            raise ConfigError(
                f"{one_line(text)}: after @sha256: come the 64 hexadecimal digits of an identity"
            )
    if place.startswith("hf://"):
        return _on_the_hub(place, sha256)
    return _on_the_web(place, sha256)


def _on_the_hub(text: str, sha256: str | None) -> Address:
    found = _REPOSITORY.fullmatch(text.removeprefix("hf://"))
    if found is None or ".." in text:
        raise ConfigError(
            f"{one_line(text)}: is no model of the Hub; give it as hf://owner/name, or with a "
            "branch, tag or commit as hf://owner/name@revision"
        )
    from huggingface_hub import constants, get_token

    revision = quote(found[2] or constants.DEFAULT_REVISION, safe="")
    base = f"{constants.ENDPOINT}/{found[1]}/resolve/{revision}/"
    offline = "HF_HUB_OFFLINE" if constants.HF_HUB_OFFLINE else ""
    token = get_token()  # of HF_TOKEN, or of the Hub's own login
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return Address(text, base, sha256, headers=headers, offline=offline)


def _on_the_web(text: str, sha256: str | None) -> Address:
    try:
        parts = urlsplit(text)
        named = bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        named = False
    if not named or parts.query or parts.fragment or not text.isascii() or not text.isprintable():
        raise ConfigError(
            f"{one_line(text)}: is no address of a folder; give it as https://host/folder"
        )
    if parts.scheme == "http" and sha256 is None:
        raise ConfigError(
            f"{text}: anybody on the way can change what comes by http; take https://, or append "
            "@sha256: and the identity of the model"
        )
    if parts.path.endswith(".onnx"):
        raise ConfigError(
            f"{text}: an exported file; download it and give --model FILE, or the address of a "
            "folder that `alld export --format hub` wrote"
        )
    folder, _, last = text.rstrip("/").rpartition("/")
    if last.endswith(".alld"):
        return Address(text, f"{folder}/", sha256, bundle=last)
    return Address(text, f"{text.rstrip('/')}/", sha256)
