"""What the background alone predicts, and what the files' sizes do: shortcuts a model would learn.

The pixels are those outside a disc of one size for all images and outside whatever is stained like
a nucleus, in the middle or aside, with a wide margin. The same number is drawn from every image:
neither the area nor the form of what is left out is a feature, as both tell the size of the cell.

A little of it remains, probably as red cells make room for a white one: drawn sets whose slides
tell nothing give an interval that covers 0.5 at 260 images (18 of 18 seeds), but 0.54 at 2,600.

Cells that were cut out and laid on one colour, as in C-NMC 2019, have no background: what is left
of it could only tell how large the cell is, and no number is given. Where one class alone is cut
out there is one, for that betrays the class.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import (
    distance_transform_edt,
    gaussian_filter,
    gaussian_gradient_magnitude,
)

from alld.cells.nuclei import nuclear_mask
from alld.config.schema import SplitConfig
from alld.data.cache import cache_file, read_cached, write_cached
from alld.data.manifest import LABEL_NAMES, Manifest, Progress
from alld.data.splits import make_folds
from alld.errors import DataError
from alld.images.rgb import RGB
from alld.stats.metrics import Metric, all_metrics

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

# Lengths are fractions of the image's longer side: a crop cut at the border of its field keeps it.
# Radius of the disc, 116 px of 257. 76 px would hide the cells themselves; but red cells lean
# against a white one, and the nearest tell by their distance how large it is.
CENTRE = 0.45
MARGIN = 0.08  # around nuclei, for cytoplasm and blur: 20 px of 257
SAMPLE = 4000  # pixels of one image
MIN_PIXELS = 1000  # else the image has no background to speak of
MAX_COMPARED_SIDE = 1500  # px; a larger picture is no single cell, and would slow everything
MOST_IMAGES = 2000  # read for this number alone: two minutes
VERSION = 1  # of the features; cached ones of another version are not read
SCALES = (1.0, 2.0, 4.0)  # px, of the texture
FOLDS = 5
PENALTY = 0.1  # inverse strength of the regression's ridge, on standardised features
_PERCENTILES = (5, 25, 50, 75, 95)
FEATURES = 3 + 3 + 3 * len(_PERCENTILES) + len(SCALES) + len(SCALES[1:]) + 1

Features = NDArray[np.float64]
Mask = NDArray[np.bool_]


def background_auc(
    manifest: Manifest, groups: Sequence[str], progress: Progress | None = None
) -> Metric:
    """What the background of a whole set predicts: `judge_background` on its features.

    The features are kept in the user's cache folder under the fingerprint of the set; an audit
    leaves them there too. A set of more than 2,000 images is not read for this number alone: its
    value is then None, with the reason.

    Raises:
        ImageError: an image that cannot be read.
        DataError: an image that changed after its hash was taken.
    """
    features = _kept_features(manifest)
    if features is None:
        if len(manifest) > MOST_IMAGES:
            reason = f"reading all {len(manifest)} images takes long; `alld audit` does it once"
            return Metric(None, None, len(manifest), None, None, None, reason)
        features = []
        for index in range(len(manifest)):
            features.append(background_features(manifest.decode(index).pixels))
            if progress:
                progress(index + 1, len(manifest))
        keep_features(manifest, features)
    return judge_background(manifest, groups, features)


def judge_background(
    manifest: Manifest, groups: Sequence[str], features: Sequence[Features | None]
) -> Metric:
    """`predicted` on the `background_features` of a set, if it has a background.

    Returns:
        The metric; its value is None, with the reason, where in both classes most images have none.
    """
    without = np.array([vector is None or _is_flat(vector) for vector in features], dtype=bool)
    labels = np.array(manifest.labels)
    if len(labels) and all(without[labels == label].mean() > 0.5 for label in set(labels)):
        reason = (
            f"{without.sum()} of {len(without)} images have no background: the cell is cut out on "
            "one colour, or fills the picture"
        )
        return Metric(None, None, len(without) - int(without.sum()), None, None, None, reason)
    return predicted(manifest, groups, features)


def keep_features(manifest: Manifest, features: Sequence[Features | None]) -> None:
    """Put the features of every image into the cache, for `background_auc` on the same set."""
    rows = [None if vector is None else vector.tolist() for vector in features]
    write_cached(cache_file("background", manifest.fingerprint, VERSION), rows)


def _kept_features(manifest: Manifest) -> list[Features | None] | None:
    """None where nothing is cached or what lies there is not ours."""
    rows = read_cached(cache_file("background", manifest.fingerprint, VERSION))
    try:
        features = [None if row is None else np.array(row, dtype=float) for row in rows]
    except (TypeError, ValueError):
        return None
    shapes = {vector.shape for vector in features if vector is not None}
    return features if len(features) == len(manifest) and shapes <= {(FEATURES,)} else None


def background_mask(pixels: RGB) -> Mask:
    """(H, W), true where neither the central cell nor any nucleus is near."""
    height, width = pixels.shape[:2]
    side = max(height, width)
    rows, columns = np.ogrid[:height, :width]
    away = np.hypot(rows - (height - 1) / 2, columns - (width - 1) / 2) > CENTRE * side
    nuclei = nuclear_mask(pixels)
    if nuclei.any():
        away &= distance_transform_edt(~nuclei) > MARGIN * side
    return np.asarray(away, bool)


def background_features(pixels: RGB) -> Features | None:
    """Colour, texture and noise of the background of RGB uint8 (H, W, 3); (27,), None without any.

    For each channel the mean, the deviation and five percentiles; the energy of the gradient at
    three scales; the local deviation at two; the noise of single pixels.
    """
    if max(pixels.shape[:2]) > MAX_COMPARED_SIDE:
        return None
    rows, columns = np.nonzero(background_mask(pixels))
    if len(rows) < MIN_PIXELS:
        return None
    # With replacement where fewer are left: the number drawn must tell nothing.
    drawn = np.random.default_rng(0).choice(len(rows), SAMPLE, replace=len(rows) < SAMPLE)
    at = rows[drawn], columns[drawn]
    colours = pixels[at].astype(np.float64)  # (SAMPLE, 3)
    grey = pixels.mean(axis=2, dtype=np.float32)
    textures = [gaussian_gradient_magnitude(grey, scale)[at] ** 2 for scale in SCALES]
    for scale in SCALES[1:]:
        variance = gaussian_filter(grey**2, scale) - gaussian_filter(grey, scale) ** 2
        textures.append(np.clip(variance[at], 0, None))
    noise = np.abs(grey - gaussian_filter(grey, 1.0))[at]
    return np.concatenate(
        [
            colours.mean(axis=0),
            colours.std(axis=0),
            np.percentile(colours, _PERCENTILES, axis=0).ravel(),
            [np.log(texture.mean() + 1e-3) for texture in textures],
            [np.log(np.median(noise) + 1e-3)],
        ]
    )


def _is_flat(features: Features) -> bool:
    """Whether the middle half of the pixels has one colour: no sensor is so quiet."""
    levels = features[6 : 6 + 3 * len(_PERCENTILES)].reshape(len(_PERCENTILES), 3)
    return bool((levels[1] == levels[3]).all())


def predicted(
    manifest: Manifest, groups: Sequence[str], features: Sequence[Features | None], seed: int = 0
) -> Metric:
    """ROC AUC of a ridge-penalised logistic regression on image features, blast positive.

    Five stratified folds that tear no group; features are standardised by the training images of
    each fold. The interval is a bootstrap over groups of the probabilities out of fold.

    Args:
        groups: one name for each image of the manifest.
        features: one vector for each, or None for an image that has none and is left out.

    Returns:
        The metric; its value is None, with the reason, where one class or too few groups are left.
    """
    used = [index for index, vector in enumerate(features) if vector is not None]
    part = replace(manifest, records=tuple(manifest.records[index] for index in used))
    names = [groups[index] for index in used]
    labels = np.array(part.labels)
    reason = _undefined(labels, names)
    if reason is not None:
        return Metric(None, None, len(used), None, None, None, reason)
    try:
        folds = make_folds(part, names, SplitConfig(kind="grouped"), FOLDS, seed)
        matrix = np.stack([vector for vector in features if vector is not None])
        probabilities = _out_of_fold(matrix, labels, folds)
    except DataError as error:
        return Metric(None, None, len(used), None, None, None, str(error))
    draws = 2000 if len(used) <= 10_000 else 500
    return all_metrics(labels, probabilities, threshold=0.5, groups=names, draws=draws)["roc_auc"]


def _undefined(labels: NDArray[np.intp], groups: Sequence[str]) -> str | None:
    for label, name in enumerate(LABEL_NAMES):
        count = len({group for group, own in zip(groups, labels, strict=True) if own == label})
        if count < FOLDS:
            return f"{count} groups with {name} images: {FOLDS} folds need {FOLDS} of each class"
    return None


def _out_of_fold(
    matrix: Features, labels: NDArray[np.intp], folds: NDArray[np.intp]
) -> NDArray[np.float64]:
    """(N,) P(blast) of every image by a model that saw no image of its fold."""
    probabilities = np.zeros(len(labels))
    for fold in np.unique(folds):
        held_out = folds == fold
        if len(np.unique(labels[~held_out])) < 2:
            raise DataError(f"the groups leave one class only to train beside fold {fold}")
        model = background_model().fit(matrix[~held_out], labels[~held_out])
        probabilities[held_out] = model.predict_proba(matrix[held_out])[:, 1]
    return probabilities


def background_model() -> "Pipeline":
    """What reads background features: a logistic regression with a ridge, on standardised ones."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(C=PENALTY, max_iter=1000))
