"""Measure what the background alone predicts, and the files' sizes: shortcuts for a model.

Background is what lies outside a disc of one size and, with a wide margin, outside all that is
stained like a nucleus. As many pixels are drawn from every image, so that neither the area nor the
form of what is left out is a feature; both would tell the size of the cell.

A little of it remains, probably because red cells make room for a white one. On drawn sets whose
background is independent of the class the interval covers 0.5 at 260 images (18 of 18 seeds), but
the value is 0.54 at 2,600.

Cells that were cut out on one colour, as in C-NMC 2019, have no background, and no number is given:
it could only tell the size of the cell. Where one class alone is cut out there is a number, because
that reveals the class.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter, gaussian_gradient_magnitude

from alld.cells.nuclei import nuclear_mask
from alld.config.schema import SplitConfig
from alld.data.cache import cache_file, read_cached, write_cached
from alld.data.manifest import LABEL_NAMES, Manifest, Progress
from alld.data.splits import make_folds
from alld.errors import DataError
from alld.images.rgb import RGB
from alld.stats.metrics import Metric, bootstrapped, grouped_proportions
from alld.stats.ranking import roc_auc

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

# Lengths are fractions of the longer side, which crops at the border of a field keep.
# Radius of the disc, 116 px of 257. 76 px would hide the cells themselves, but red cells lean
# against them, and the distance of the nearest tells how large a cell is.
CENTRE = 0.45
MARGIN = 0.08  # around nuclei, for cytoplasm and blur: 20 px of 257
SAMPLE = 4000  # pixels of one image
MIN_PIXELS = 1000  # with fewer left an image counts as without background
MAX_COMPARED_SIDE = 1500  # px; a larger picture is not a single cell, and would take long
MOST_IMAGES = 2000  # that are read for this number alone, which takes two minutes
VERSION = 1  # of the cached features
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
    """Return the ROC AUC of the background of a whole set; see `measure_background`.

    The features are kept in the user's cache folder under the fingerprint of the set, by an audit
    too. A set of more than 2,000 images is not read for this number alone: the value is then None.

    Raises:
        ImageError: an image that cannot be read.
        DataError: an image that changed after its hash was taken.
    """
    features = _kept_features(manifest)
    if features is None:
        if len(manifest) > MOST_IMAGES:
            reason = f"reading all {len(manifest)} images takes long; `alld audit` does it once"
            return _undefined(len(manifest), reason)[0]
        features = []
        for index in range(len(manifest)):
            features.append(background_features(manifest.decode(index).pixels))
            if progress:
                progress(index + 1, len(manifest))
        keep_features(manifest, features)
    return measure_background(manifest, groups, features)


def measure_background(
    manifest: Manifest, groups: Sequence[str], features: Sequence[Features | None]
) -> Metric:
    """Return the `predictive_power` of the background.

    The value is None, with a reason, where most images of each class have no background.
    """
    without = np.array([vector is None or _is_flat(vector) for vector in features], dtype=bool)
    labels = np.array(manifest.labels)
    if len(labels) and all(without[labels == label].mean() > 0.5 for label in set(labels)):
        reason = (
            f"{without.sum()} of {len(without)} images have no background: the cell is cut out on "
            "one colour, or fills the picture"
        )
        return _undefined(len(without) - int(without.sum()), reason)[0]
    return predictive_power(manifest, groups, features)


def keep_features(manifest: Manifest, features: Sequence[Features | None]) -> None:
    """Cache the features of every image for `background_auc` on the same set."""
    rows = [None if vector is None else vector.tolist() for vector in features]
    write_cached(cache_file("background", manifest.fingerprint, VERSION), rows)


def _kept_features(manifest: Manifest) -> list[Features | None] | None:
    """The cached features; None where there are none or they do not fit the set."""
    rows = read_cached(cache_file("background", manifest.fingerprint, VERSION))
    try:
        features = [None if row is None else np.array(row, dtype=float) for row in rows]
    except (TypeError, ValueError):
        return None
    shapes = {vector.shape for vector in features if vector is not None}
    return features if len(features) == len(manifest) and shapes <= {(FEATURES,)} else None


def background_mask(pixels: RGB) -> Mask:
    """Return (H, W), true where neither the central cell nor any nucleus is near."""
    height, width = pixels.shape[:2]
    side = max(height, width)
    rows, columns = np.ogrid[:height, :width]
    away = np.hypot(rows - (height - 1) / 2, columns - (width - 1) / 2) > CENTRE * side
    nuclei = nuclear_mask(pixels)
    if nuclei.any():
        away &= distance_transform_edt(~nuclei) > MARGIN * side
    return np.asarray(away, bool)


def background_features(pixels: RGB) -> Features | None:
    """Return colour, texture and noise (27,) of the background of RGB uint8 (H, W, 3), or None.

    They are: for each channel the mean, the deviation and five percentiles; the energy of the
    gradient at three scales; the local variance at two; the noise of single pixels.
    """
    if max(pixels.shape[:2]) > MAX_COMPARED_SIDE:
        return None
    rows, columns = np.nonzero(background_mask(pixels))
    if len(rows) < MIN_PIXELS:
        return None
    # With replacement where fewer are left, so that the number drawn tells nothing.
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
    """Whether the middle half of the pixels has one colour, which no photograph has."""
    levels = features[6 : 6 + 3 * len(_PERCENTILES)].reshape(len(_PERCENTILES), 3)
    return bool((levels[1] == levels[3]).all())


def domain_features(manifest: Manifest) -> list[Features | None]:
    """Return 1 at the domain of each image and 0 at all others, or None where it is not known."""
    names = sorted({record.domain for record in manifest if record.domain})
    place = {name: number for number, name in enumerate(names)}
    every = np.eye(len(names))
    return [every[place[one.domain]] if one.domain else None for one in manifest]


def predictive_power(
    manifest: Manifest, groups: Sequence[str], features: Sequence[Features | None]
) -> Metric:
    """Return the ROC AUC of `best_guess`."""
    return best_guess(manifest, groups, features)[0]


def best_guess(
    manifest: Manifest, groups: Sequence[str], features: Sequence[Features | None]
) -> tuple[Metric, Metric]:
    """Return ROC AUC and accuracy of a logistic regression on image features, blast positive.

    It is cross-validated in five stratified folds that keep groups together; features are
    standardised by the training images. The intervals come from a bootstrap over groups. Both
    values are None, with a reason, where one class or too few groups are left.

    Args:
        groups: one name for each image of the manifest.
        features: one vector for each; images with None are left out.
    """
    from sklearn.model_selection import PredefinedSplit, cross_val_predict

    used = [index for index, vector in enumerate(features) if vector is not None]
    part = replace(manifest, records=tuple(manifest.records[index] for index in used))
    names = [groups[index] for index in used]
    labels = np.array(part.labels)
    for label, name in enumerate(LABEL_NAMES):
        count = len({group for group, own in zip(names, labels, strict=True) if own == label})
        if count < FOLDS:
            reason = f"{count} groups with {name} images: {FOLDS} folds need {FOLDS} of each class"
            return _undefined(len(used), reason)
    try:
        folds = make_folds(part, names, SplitConfig(kind="grouped"), FOLDS, seed=0)
    except DataError as error:
        return _undefined(len(used), str(error))
    for fold in np.unique(folds):
        if len(np.unique(labels[folds != fold])) < 2:
            reason = f"the groups leave one class only to train beside fold {fold}"
            return _undefined(len(used), reason)
    matrix = np.stack([vector for vector in features if vector is not None])
    held_out = PredefinedSplit(folds)
    p = cross_val_predict(background_model(), matrix, labels, cv=held_out, method="predict_proba")
    draws = 2000 if len(used) <= 10_000 else 500
    area = bootstrapped(roc_auc, labels, p[:, 1], names, draws)
    rates = grouped_proportions(labels, p[:, 1], threshold=0.5, groups=names, draws=draws)
    return area, rates["accuracy"]


def _undefined(n: int, reason: str) -> tuple[Metric, Metric]:
    metric = Metric(None, None, n, reason=reason)
    return metric, metric


def background_model() -> "Pipeline":
    """Return a logistic regression with an L2 penalty on standardised features."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(C=PENALTY, max_iter=1000))
