"""Hash what the images of a set show, so that copies in other files or formats are recognised."""

from dataclasses import replace

from alld.data.cache import cache_file, read_cached, write_cached
from alld.data.manifest import Manifest, Progress
from alld.images.rgb import pixels_hash
from alld.runtime.threads import side_by_side

VERSION = 1  # of the cached hashes


def with_pixel_hashes(manifest: Manifest, progress: Progress | None = None) -> Manifest:
    """Return the manifest with the hash of the decoded pixels of every image.

    The hashes are kept in the user's cache folder under the fingerprint of the set.

    Raises:
        ImageError: an image that cannot be read.
        DataError: an image that changed after its hash was taken.
    """
    file = cache_file("pixels", manifest.fingerprint, VERSION)
    hashes = read_cached(file)
    if not _fits(hashes, len(manifest)):
        hashes = []

        def hash_at(index: int) -> str:
            return pixels_hash(manifest.decode(index).pixels)

        for found in side_by_side(hash_at, range(len(manifest))):
            hashes.append(found)
            if progress:
                progress(len(hashes), len(manifest))
        write_cached(file, hashes)
    pairs = zip(manifest, hashes, strict=True)
    return replace(
        manifest, records=tuple(replace(record, pixels_sha256=one) for record, one in pairs)
    )


def _fits(hashes: object, images: int) -> bool:
    return (
        isinstance(hashes, list)
        and len(hashes) == images
        and all(isinstance(one, str) for one in hashes)
    )
