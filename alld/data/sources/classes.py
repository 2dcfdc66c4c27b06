"""A folder for each class, whatever the classes are: what a network may be pretrained on."""

from pathlib import Path

from alld.data.manifest import ImageRecord, Manifest, Progress
from alld.data.sources.labelled import list_images
from alld.errors import DataError
from alld.images.decode import is_synthetic, read_image_bytes
from alld.runtime.files import one_line, sha256_hex


def load_classes(root: Path, progress: Progress | None = None) -> tuple[Manifest, tuple[str, ...]]:
    """Read every image below `root` and hash it.

    Returns:
        The images, whose labels number the classes, and the classes: the names of the folders
        directly in `root` that hold images, sorted.

    Raises:
        DataError: no folder, fewer than two classes, or an image in no class folder.
        ImageError: a file that cannot be read.
    """
    root = root.expanduser()
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; give one that holds a folder for each class")
    images = list_images(root)
    parts = [path.relative_to(root).parts for path in images]
    for inside in parts:
        if len(inside) == 1:
            raise DataError(
                f"{root}: {one_line(inside[0])} lies in no class folder; move it into one"
            )
    classes = tuple(sorted({inside[0] for inside in parts}))
    if len(classes) < 2:
        raise DataError(
            f"{root}: {len(classes)} folders with images; it takes one for each of two classes or "
            "more"
        )
    records, synthetic = [], False
    for done, (path, inside) in enumerate(zip(images, parts, strict=True), start=1):
        data = read_image_bytes(path)
        synthetic = synthetic or is_synthetic(data)
        label = classes.index(inside[0])
        records.append(ImageRecord("/".join(inside), label, sha256_hex(data)))
        if progress:
            progress(done, len(images))
    return Manifest(root, "folders", tuple(records), synthetic), classes
