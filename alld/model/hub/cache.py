"""Fetch a trained model from its address into the user's cache, once for each identity.

The folder `models/IDENTITY` of the cache holds bundles, as they were published, and `source.json`
with the addresses that they came from. Loading verifies them as any bundle.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from alld.data.cache import cache_folder, read_cached
from alld.errors import AlldError, BundleError, ConfigError
from alld.model.bundle_info import INFO, BundleInfo, parse_info, read_whole
from alld.model.hub.address import BUNDLE, Address, parse_address
from alld.model.hub.download import Downloads, UnreachableError
from alld.model.joint import joint_identity
from alld.model.place import find_bundles
from alld.runtime.files import new_folder, one_line, sha256_hex, write_bytes, write_json
from alld.runtime.reading import parse_json

SOURCE, INDEX, SUMS = "source.json", "config.json", "SHA256SUMS"
MOST_BYTES = 2**32  # of all files of one model
_SMALL, _MOST_BUNDLES, _MOST_FILES = 2**22, 200, 8
_FOLDER = re.compile(r"(repeat-[0-9]{1,4}/fold-[0-9]{1,4}/)?model\.alld")
_LINE = re.compile(r"([0-9a-f]{64})  ([A-Za-z0-9][A-Za-z0-9._-]{0,63})")

Step = Callable[[str, int, int], None]
Sums = Mapping[str, bytes]  # the SHA256SUMS of each bundle, by its folder


@dataclass(frozen=True)
class Fetched:
    """A model in the cache. `note` says why the copy there may not be the newest one."""

    path: Path
    identity: str
    note: str = ""


@dataclass(frozen=True)
class Cached:
    """A model in the cache, for a list of them."""

    path: Path
    identity: str
    info: BundleInfo  # of the first of its bundles
    bundles: int
    bytes: int
    sources: tuple[Mapping[str, str], ...]  # address and fetched, the newest last


def fetch(
    address: str, required: str | None = None, step: Step = lambda _step, _done, _total: None
) -> Fetched:
    """Return the model at an address, from the cache where it is already there.

    A pinned model in the cache needs no network. Any other is looked up, to see whether it has
    changed; where nobody answers, the copy that last came from there is taken, with a note.

    Args:
        required: the identity that it must have, as `@sha256:` in the address demands.
        step: called with each file, the bytes so far and all bytes.

    Raises:
        ConfigError: not an address, or two identities.
        BundleError: no such model, another one than the required one, or nobody answers.
    """
    place = parse_address(address)
    pin = place.sha256 or required
    if pin != (required or pin):
        raise ConfigError(f"{one_line(address)}: names another identity than --require-sha256")
    if pin and (kept := _kept(pin)):
        return kept
    try:
        return _download(place, pin, step)
    except UnreachableError as error:
        last = None if pin else _last_from(place.text)
        if last is None:
            raise UnreachableError(
                f"{error}, and the cache has no such model; fetch it where there is a network and "
                f"copy {_home()} from there, or give the folder of a downloaded one"
            ) from error
        return Fetched(last.path, last.identity, f"{error}; its copy in the cache is used")


def cached_models() -> list[Cached]:
    """Return the models in the cache, the last fetched first; damaged ones are left out."""
    folders = sorted(_home().glob("*")) if _home().is_dir() else []
    found = [one for folder in folders if (one := _cached(folder)) is not None]
    return sorted(found, key=lambda one: one.sources[-1]["fetched"], reverse=True)


def _home() -> Path:
    return cache_folder() / "models"


def _kept(identity: str) -> Fetched | None:
    """Return a model of the cache, unless its hashes are no longer those of its identity."""
    folder = _home() / identity
    try:
        whole = _identity_of(folder, find_bundles(folder)) == identity
    except (OSError, AlldError):
        return None
    return Fetched(folder, identity) if whole else None


def _last_from(address: str) -> Cached | None:
    """Return the model that last came from an address."""
    came = [
        (source["fetched"], model)
        for model in cached_models()
        for source in model.sources
        if source["address"] == address
    ]
    return max(came, key=lambda one: one[0])[1] if came else None


def _cached(folder: Path) -> Cached | None:
    try:
        bundles = find_bundles(folder)
        identity = _identity_of(folder, bundles)
        info = parse_info(bundles[0] / INFO, read_whole(bundles[0] / INFO, _SMALL))
        size = sum(file.stat().st_size for bundle in bundles for file in bundle.iterdir())
    except (OSError, AlldError):
        return None
    sources = _sources(folder)
    if identity != folder.name or not sources:
        return None
    return Cached(folder, identity, info, len(bundles), size, sources)


def _identity_of(folder: Path, bundles: list[Path]) -> str:
    if bundles == [folder]:
        raise BundleError(f"{folder}: no model in this folder of the cache")
    sums = [read_whole(bundle / SUMS, _SMALL) for bundle in bundles]
    return joint_identity([sha256_hex(one) for one in sums])


def _sources(folder: Path) -> tuple[Mapping[str, str], ...]:
    content = read_cached(folder / SOURCE)
    sources = content.get("sources", []) if isinstance(content, dict) else []
    wanted = ("address", "fetched")
    return tuple(
        one
        for one in (sources if isinstance(sources, list) else [])
        if isinstance(one, dict) and all(isinstance(one.get(key), str) for key in wanted)
    )


def _download(place: Address, pin: str | None, step: Step) -> Fetched:
    """Look up what is at an address, and download it unless the cache has it."""
    downloads = Downloads(place, MOST_BYTES)
    sums = _read_sums(place, downloads)
    identity = joint_identity([sha256_hex(one) for one in sums.values()])
    if pin not in (None, identity):
        raise BundleError(f"{place.text}: is model {identity}, not the required {pin}")
    kept = _kept(identity)
    sources = _sources(kept.path) if kept else ()
    source = {"address": place.text, "fetched": datetime.now(UTC).isoformat(timespec="seconds")}
    content = {
        "sources": [*(one for one in sources if one["address"] != place.text), source],
        "identity": identity,
    }
    target = _home() / identity
    if kept:
        write_json(target / SOURCE, content)
        return kept
    with new_folder(target) as folder:
        for name, text in sums.items():
            # A single bundle has its usual name here, whatever it is called there.
            bundle = folder / (BUNDLE if place.bundle else name)
            bundle.mkdir(parents=True)
            write_bytes(bundle / SUMS, text)
            for member, sha256 in _members(place, text):
                file = f"{name}/{member}"
                title = f"fetching {member if len(sums) == 1 else file}, MB"
                downloads.save(file, bundle / member, sha256, _telling(step, title))
        write_json(folder / SOURCE, content)
    return Fetched(target, identity)


def _telling(step: Step, title: str) -> Callable[[int, int | None, bool], None]:
    """Return a listener that turns bytes into megabytes, all of them when a file is complete."""

    def tell(done: int, total: int | None, complete: bool) -> None:
        megabytes = -(-done // 10**6)
        step(title, megabytes, megabytes if complete else max((total or 0) // 10**6, megabytes) + 1)

    return tell


def _read_sums(place: Address, downloads: Downloads) -> Sums:
    """Return the SHA256SUMS of each bundle at an address."""
    folders = [place.bundle] if place.bundle else _index(place, downloads)
    found = {}
    for folder in folders:
        text = downloads.read(f"{folder}/{SUMS}", _SMALL)
        if text is None:
            raise BundleError(
                f"{place.text}: no model there ({folder}/{SUMS} is missing); a model is what "
                "`alld export --format hub` writes"
            )
        found[folder] = text
    return found


def _index(place: Address, downloads: Downloads) -> list[str]:
    """Return the folders of the bundles, as the export names them; older ones have one bundle."""
    text = downloads.read(INDEX, _SMALL)
    try:
        content = parse_json(text) if text else {}
        folders = content.get("bundles", [BUNDLE])
        known = all(_FOLDER.fullmatch(folder) for folder in folders)
        if not known or not 0 < len(set(folders)) == len(folders) <= _MOST_BUNDLES:
            raise ValueError("bundles")
        return list(folders)
    except (ValueError, TypeError, AttributeError) as error:
        raise BundleError(
            f"{place.text}: its {INDEX} is not what `alld export --format hub` writes"
        ) from error


def _members(place: Address, sums: bytes) -> list[tuple[str, str]]:
    """Return name and SHA-256 of the files that a bundle's SHA256SUMS lists."""
    try:
        lines = sums.decode("ascii").splitlines()
    except UnicodeDecodeError:
        lines = []
    pairs = [(found[2], found[1]) for line in lines if (found := _LINE.fullmatch(line))]
    names = {name for name, _ in pairs}
    if not pairs or len(names) < len(lines) or len(lines) > _MOST_FILES or SUMS in names:
        raise BundleError(f"{place.text}: its {SUMS} is not that of a bundle")
    return pairs
