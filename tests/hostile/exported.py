"""Exported models that were changed, most of them with a right hash, as by an attacker."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

from onnx import ModelProto, StringStringEntryProto, TensorProto, helper

from alld.model.bundle_info import INFO, LIMITS
from alld.model.onnx.file import FACTS, SEAL
from hostile.bundles import Canary

Damage = Callable[[Path], object]


def sealed_again(change: Callable[[ModelProto], object]) -> Damage:
    """A change of the network or its metadata, with a right hash over it."""

    def damage(file: Path) -> None:
        model = ModelProto.FromString(file.read_bytes())
        assert model.metadata_props[-1].key == SEAL
        del model.metadata_props[-1]
        change(model)
        file.write_bytes(_sealed(model.SerializeToString()))

    return damage


def _sealed(data: bytes) -> bytes:
    seal = StringStringEntryProto(key=SEAL, value=hashlib.sha256(data).hexdigest())
    last: bytes = ModelProto(metadata_props=[seal]).SerializeToString()
    return data + last


def entry(model: ModelProto, name: str) -> StringStringEntryProto:
    found: StringStringEntryProto = next(one for one in model.metadata_props if one.key == name)
    return found


def facts(name: str, **changed: object) -> Damage:
    """Other facts in the metadata."""

    def change(model: ModelProto) -> None:
        one = entry(model, name)
        one.value = json.dumps({**json.loads(one.value), **changed})

    return sealed_again(change)


def text(name: str, value: str) -> Damage:
    """Other text in the metadata."""
    return sealed_again(lambda model: setattr(entry(model, name), "value", value))


def _one_weight(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 3] ^= 1
    file.write_bytes(data)


def _pickled(file: Path) -> None:
    import torch

    torch.save({"x": Canary(file.parent / "canary")}, file)


def _no_utf8(file: Path) -> None:
    """Protobuf takes such a word, and onnxruntime would tell standard output that it does not."""
    data = file.read_bytes()[: -len(_sealed(b""))]
    file.write_bytes(_sealed(data.replace(b"Conv", b"C\xc9nv")))


def _without_metadata(file: Path) -> None:
    model = ModelProto.FromString(file.read_bytes())
    del model.metadata_props[:]
    file.write_bytes(model.SerializeToString())


def _linear(model: ModelProto) -> None:
    """Another network with our metadata: flat images in, one number out."""
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 10])
    answer = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 10])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [image], [answer])
    model.graph.CopyFrom(graph)


def _custom(model: ModelProto) -> None:
    model.graph.node[0].domain = "com.evil\nerror: none"
    model.opset_import.append(helper.make_opsetid("com.evil\nerror: none", 1))


def _microsoft(model: ModelProto) -> None:
    model.graph.node[0].domain = "com.microsoft"


def _local_function(model: ModelProto) -> None:
    opset = [helper.make_opsetid("", 20)]
    node = helper.make_node("Relu", ["a"], ["b"])
    model.functions.append(helper.make_function("", "Conv", ["a"], ["b"], [node], opset))


def _loop(model: ModelProto) -> None:
    body = helper.make_graph([], "body", [], [])
    model.graph.node.append(helper.make_node("Loop", [], [], body=body))


def _data_elsewhere(location: str) -> Callable[[ModelProto], None]:
    def change(model: ModelProto) -> None:
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)

    return change


def _hidden_data_elsewhere(model: ModelProto) -> None:
    """Not a weight, but a constant within a node."""
    tensor = helper.make_tensor("c", TensorProto.FLOAT, [1], [1.0])
    tensor.external_data.add(key="location", value="/etc/hostname")
    model.graph.node.append(helper.make_node("Constant", [], ["c"], value=tensor))


def _huge_tensor(model: ModelProto) -> None:
    tensor = model.graph.initializer[0]
    del tensor.dims[:]
    tensor.dims.extend([2**40, 2**20])


def _many_outputs(model: ModelProto) -> None:
    model.graph.output[1].type.tensor_type.shape.dim[1].dim_value = 3


def _pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


FAR_APART = {"images": 9, "source": "", "probability": 0.5, "score": 0, "words": ""}
MORE = StringStringEntryProto(key="extra", value="x")

# Name to what is done to the file, and what the one line must say.
LIES: dict[str, tuple[Damage, str]] = {
    "an operator that is no UTF-8": (_no_utf8, "onnxruntime cannot run it"),
    "missing": (Path.unlink, "cannot be read"),
    "empty": (lambda file: file.write_bytes(b""), "cut short, or not written by `alld export`"),
    "cut short": (lambda file: os.truncate(file, file.stat().st_size - 1000), "cut short"),
    "text": (lambda file: file.write_text("a model"), "not written by `alld export`"),
    "a pickle": (_pickled, "not written by `alld export`"),
    "of another program": (_without_metadata, "not written by `alld export`"),
    "one weight": (_one_weight, "SHA-256 differs"),
    "of 1 TB": (lambda file: os.truncate(file, 2**40), "larger than"),
    "a pipe": (_pipe, "not a regular file"),
    "another network": (sealed_again(_linear), "not a network from images of 32 px"),
    "another answer": (sealed_again(_many_outputs), "not a network from images"),
    "an operator of its own": (sealed_again(_custom), "uses com.evil\\nerror: none"),
    "an operator of the runtime": (sealed_again(_microsoft), "uses com.microsoft"),
    "a function of its own": (sealed_again(_local_function), "functions or training steps"),
    "a loop": (sealed_again(_loop), "a program within"),
    "data elsewhere": (sealed_again(_data_elsewhere("/etc/hostname")), "data in other files"),
    "data above": (sealed_again(_data_elsewhere("../../x")), "data in other files"),
    "data hidden elsewhere": (sealed_again(_hidden_data_elsewhere), "data in other files"),
    "a tensor of 2**60": (sealed_again(_huge_tensor), "onnxruntime cannot run it"),
    "facts twice": (
        sealed_again(lambda model: model.metadata_props.append(entry(model, INFO))),
        "metadata",
    ),
    "a fact more": (facts(INFO, extra=1), "extra"),
    "metadata more": (sealed_again(lambda model: model.metadata_props.append(MORE)), "metadata"),
    "facts no JSON": (text(INFO, "{'a': 1}"), "not the JSON of a model"),
    "facts deep": (text(INFO, "[" * 100_000), "not the JSON of a model"),
    "another version": (facts(INFO, schema_version=2), "schema version 2"),
    "another version of the export": (facts(FACTS, schema_version=7), "schema version 7"),
    "another size": (facts(INFO, image_size=1024), "not a network from images of 1024 px"),
    "another order of classes": (facts(INFO, classes=["blast", "healthy"]), "classes"),
    "threshold of two": (facts(INFO, threshold=2), "threshold"),
    "not compared": (facts(FACTS, parity=None), "parity"),
    "compared and far apart": (facts(FACTS, parity=FAR_APART), "parity.probability"),
    "limits missing": (
        sealed_again(lambda model: model.metadata_props.remove(entry(model, LIMITS))),
        "do not go together",
    ),
    "limits no ASCII": (text(LIMITS, "ü"), "limits.safetensors"),
    "limits no base64": (text(LIMITS, "!"), "limits.safetensors"),
    "limits no tensors": (text(LIMITS, "AAAA"), "limits.safetensors"),
}
