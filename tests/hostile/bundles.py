"""Model bundles that were changed, and a pickle that does harm when it is opened."""

import json
import os
import shutil
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from alld.model.bundle import SUMS, WEIGHTS
from alld.model.bundle_info import INFO
from alld.runtime.files import sha256_hex

MEMBERS = (WEIGHTS, INFO, SUMS)
Damage = Callable[[Path], object]


class Canary:
    """Unpickling it makes a folder."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return os.mkdir, (str(self.file),)


def assert_refused(answer: Sequence[object], named: str, folder: Path) -> None:
    """Status 2, one printable line that has the word, and no canary in `folder`."""
    status, out, err = answer
    line = str(err).removesuffix("\n")
    assert (status, out) == (2, "")
    assert line.startswith("error: ")
    assert line.isprintable()
    assert named in line
    assert not (folder / "canary").exists()


def resum(bundle: Path) -> None:
    """Make SHA256SUMS right again after a change, as an attacker would."""
    names = sorted((WEIGHTS, INFO))
    lines = [f"{sha256_hex((bundle / name).read_bytes())}  {name}\n" for name in names]
    (bundle / SUMS).write_text("".join(lines))


def change_info(*dropped: str, **facts: object) -> Damage:
    """Change or drop facts in alld.json, with right hashes."""

    def change(bundle: Path) -> None:
        info = {**json.loads((bundle / INFO).read_text()), **facts}
        kept = {name: fact for name, fact in info.items() if name not in dropped}
        (bundle / INFO).write_text(json.dumps(kept))
        resum(bundle)

    return change


def write(name: str, content: bytes) -> Damage:
    """Replace a member, with right hashes."""

    def change(bundle: Path) -> None:
        (bundle / name).write_bytes(content)
        if name != SUMS:
            resum(bundle)

    return change


def change_tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Damage:
    """Change tensors, with right hashes."""

    def rewrite(bundle: Path) -> None:
        tensors = load_file(bundle / WEIGHTS)
        change(tensors)
        save_file(tensors, bundle / WEIGHTS)
        resum(bundle)

    return rewrite


def _last(tensors: dict[str, torch.Tensor]) -> str:
    return next(name for name in sorted(tensors, reverse=True) if name.endswith("weight"))


def _three_classes(tensors: dict[str, torch.Tensor]) -> None:
    name = next(name for name, tensor in tensors.items() if tensor.shape == (2, 512))
    tensors[name] = torch.zeros(3, 512)


def _one_nan(tensors: dict[str, torch.Tensor]) -> None:
    tensors[_last(tensors)].view(-1)[0] = float("nan")


def negative_variances(tensors: dict[str, torch.Tensor]) -> None:
    """All finite; what the model says of any picture is not."""
    for name in tensors:
        if name.endswith("running_var"):
            tensors[name] = -1 - tensors[name]


def _cast(kind: torch.dtype) -> Damage:
    def cast(tensors: dict[str, torch.Tensor]) -> None:
        name = _last(tensors)
        tensors[name] = tensors[name].to(kind)

    return change_tensors(cast)


def _threshold_twice(bundle: Path) -> None:
    text = (bundle / INFO).read_text()
    (bundle / INFO).write_text(text.replace('"threshold":', '"threshold": 0.1,\n"threshold":'))
    resum(bundle)


def _link(name: str, target: str = "elsewhere") -> Damage:
    """Move a member out of the bundle and link it."""

    def link(bundle: Path) -> None:
        (bundle / name).rename(bundle.parent / "elsewhere")
        (bundle / name).symlink_to(bundle.parent / target if target[0] != "." else target)

    return link


def _instead(name: str, make: Callable[[Path], object]) -> Damage:
    """Put something else in the place of a member."""

    def replace(bundle: Path) -> None:
        (bundle / name).unlink()
        make(bundle / name)

    return replace


def _sums_above(bundle: Path) -> None:
    lines = (bundle / SUMS).read_text()
    shutil.move(bundle / WEIGHTS, bundle.parent / WEIGHTS)
    (bundle / SUMS).write_text(lines.replace(WEIGHTS, f"../{WEIGHTS}"))


def _pickle(bundle: Path) -> None:
    torch.save({"x": Canary(bundle.parent / "canary")}, bundle / WEIGHTS)
    resum(bundle)


def _sparse(name: str, length: int = 10**12) -> Damage:
    """Make a member long without taking space on the disk."""
    return lambda bundle: os.truncate(bundle / name, length)


def _tensors(header: bytes, length: int | None = None) -> Damage:
    """Replace the weights by a header of safetensors, without tensors."""
    size = len(header) if length is None else length
    return write(WEIGHTS, struct.pack("<Q", size) + header)


def _one_tensor(shape: list[int], end: int) -> bytes:
    """Return a header of one tensor `x` whose numbers end at this byte."""
    return json.dumps({"x": {"dtype": "F32", "shape": shape, "data_offsets": [0, end]}}).encode()


# Name: what was done, and a word of the answer.
LIES: dict[str, tuple[Damage, str]] = {
    "unknown arch": (change_info(arch="resnet51"), "resnet51"),
    "arch is code": (change_info(arch="os.system"), "os.system"),
    "arch is a hub id": (change_info(arch="timm:hf-hub:someone/else"), "hf-hub"),
    "arch is a folder": (change_info(arch="timm:local-dir:/tmp"), "local-dir"),
    "arch is another": (change_info(arch="resnet18"), "does not fit"),
    "arch is a number": (change_info(arch=5), "arch"),
    "extra key": (change_info(surprise=1), "surprise"),
    "key of two lines": (change_info(**{"a\nerror: none": 1}), "error: none: "),
    "key twice": (_threshold_twice, "not the JSON"),
    "missing key": (change_info("mean"), "mean"),
    "NaN threshold": (change_info(threshold=float("nan")), "alld.json"),
    "infinite threshold": (change_info(threshold=float("inf")), "alld.json"),
    "threshold 1.5": (change_info(threshold=1.5), "threshold"),
    "threshold as text": (change_info(threshold="0.5"), "threshold"),
    "no temperature": (change_info(temperature=0), "temperature"),
    "NaN mean": (change_info(mean=[float("nan")] * 3), "alld.json"),
    "mean of 1e300": (change_info(mean=[1e300] * 3), "mean"),
    "std of 1e-300": (change_info(std=[1e-300] * 3), "std"),
    "temperature of 1e-320": (change_info(temperature=1e-320), "temperature"),
    "two means": (change_info(mean=[0.5, 0.5]), "mean"),
    "std of zero": (change_info(std=[0.0, 0.5, 0.5]), "std"),
    "one class": (change_info(classes=["blast"]), "classes"),
    "three classes": (change_info(classes=["healthy", "blast", "other"]), "classes"),
    "classes exchanged": (change_info(classes=["blast", "healthy"]), "classes"),
    "image of 10^9 px": (change_info(image_size=10**9), "image_size"),
    "newer schema": (change_info(schema_version=9), "schema version 9"),
    "older schema": (change_info(schema_version=1), "schema version 1"),
    "schema is a text": (change_info(schema_version="2\n\x1b[31m"), "schema version"),
    "other resize": (change_info(resize="squash"), "resize"),
    "facts are a list": (write(INFO, b"[]"), "not the JSON"),
    "facts are empty": (write(INFO, b""), "not the JSON"),
    "facts are no UTF-8": (write(INFO, b'{"arch": "\xff"}'), "not the JSON"),
    "facts are deep": (write(INFO, b"[" * 200_000), "not the JSON"),
    "facts are a long number": (write(INFO, b'{"schema_version": ' + b"9" * 9000 + b"}"), "JSON"),
    "three outputs": (change_tensors(_three_classes), "does not fit"),
    "a tensor less": (change_tensors(lambda t: t.pop(_last(t))), "does not fit"),
    "a tensor more": (change_tensors(lambda t: t.update(more=torch.ones(1))), "does not fit"),
    "a weight is NaN": (change_tensors(_one_nan), "not finite"),
    "a tensor of booleans": (_cast(torch.bool), "torch.bool"),
    "a tensor of complex numbers": (_cast(torch.complex64), "torch.complex64"),
    "a tensor of half precision": (_cast(torch.float16), "torch.float16"),
    "weights are a pickle": (_pickle, "does not fit"),
    "weights are empty": (write(WEIGHTS, b""), "does not fit"),
    "header beyond the file": (_tensors(b"", 10**15), "does not fit"),
    "header of 2^64 - 1": (write(WEIGHTS, b"\xff" * 8), "does not fit"),
    "header is no JSON": (_tensors(b"\0\1\2\3"), "does not fit"),
    "tensor beyond the file": (_tensors(_one_tensor([9], 36)), "does not fit"),
    "shape of 2^62": (_tensors(_one_tensor([2**62, 4], 0)), "does not fit"),
    "weights missing": (lambda b: (b / WEIGHTS).unlink(), "is missing"),
    "sums missing": (lambda b: (b / SUMS).unlink(), "is missing"),
    "a file more": (lambda b: (b / "extra.pkl").write_bytes(b"x"), "does not belong"),
    "a hidden file more": (lambda b: (b / ".hidden").touch(), "does not belong"),
    "weights linked": (_link(WEIGHTS), "not a regular file"),
    "sums linked": (_link(SUMS, "../elsewhere"), "not a regular file"),
    "weights are a pipe": (_instead(WEIGHTS, os.mkfifo), "not a regular file"),
    "facts are a folder": (_instead(INFO, Path.mkdir), "not a regular file"),
    "sums name a file above": (_sums_above, ""),
    "sums name all twice": (lambda b: (b / SUMS).write_text((b / SUMS).read_text() * 2), "differs"),
    "sums are empty": (write(SUMS, b""), "differs"),
    "sums are binary": (write(SUMS, b"\xff\xfe\0"), "differs"),
    "sums are in capitals": (
        lambda b: (b / SUMS).write_text((b / SUMS).read_text().upper()),
        "differs",
    ),
    "a file of two lines": (lambda b: (b / "a\nerror: none").touch(), "does not belong"),
    "arch of 17 GB": (change_info(arch="timm:eva02_enormous_patch14_clip_224"), "does not fit"),
    "weights of 8 GB": (_sparse(WEIGHTS, 8 * 2**30), "larger than"),
    "weights of 1 TB": (_sparse(WEIGHTS), "larger than"),
    "facts of 1 TB": (_sparse(INFO), "larger than"),
    "sums of 1 TB": (_sparse(SUMS), "larger than"),
    "no bundle": (shutil.rmtree, "no model there"),
}


def bit_places(bundle: Path, count: int, seed: int = 0) -> list[tuple[str, int]]:
    """Members and the number of a bit in them; as many in each, the small files too."""
    rng = np.random.default_rng(seed)
    places = []
    for number in range(count):
        member = MEMBERS[number % len(MEMBERS)]
        bits = 8 * (bundle / member).stat().st_size
        places.append((member, int(rng.integers(bits))))
    return places


def flip(file: Path, bit: int) -> None:
    """Turn one bit of a file; the same again turns it back."""
    with file.open("r+b") as opened:
        opened.seek(bit // 8)
        byte = opened.read(1)[0] ^ 1 << bit % 8
        opened.seek(bit // 8)
        opened.write(bytes([byte]))
