"""Read the features of an untouched network: for the linear probe, and for row [3].

Row [3] selects a subset by a swarm and reads it by nearest neighbours. Source: Sahlol,
Kollmannsberger and Ewees, Sci. Rep. 10 (2020) 2536, of whom the abstract was read:
an ImageNet network, the Salp Swarm Algorithm, and statistics that drop noisy and highly correlated
features. The statistics are chosen here: features are ranked by the F test, and near copies of a
better one are dropped. The ALLD paper calls the algorithm "social spider optimisation".
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from alld.baselines.learning import Features, Labels, PredictProba, inner_folds, separation
from alld.cells.view import seen
from alld.config.schema import Config, ModelConfig
from alld.data.manifest import Manifest, Pictures
from alld.data.preprocess import normalise, to_square
from alld.images.rgb import RGB
from alld.model.architectures import normalisation
from alld.model.backbones import create_model
from alld.runtime.device import keep_freed_memory, resolve_device, set_threads
from alld.runtime.threads import map_ahead

BATCH = 32  # images
UNSEEN = "efficientnet_lite0"  # its ImageNet weights come with the installation
MOST = 300  # features that enter the swarm; [3] ends with one in 25 of its own
COPY = 0.9  # correlation from which a feature adds nothing to a better one
NEIGHBOURS = (5, 1, 3, 7, 9)  # the first is used in the swarm
SIZE_COST = 0.01  # of taking every feature, in units of the error rate
SALPS, STEPS = 20, 40

Subset = NDArray[np.bool_]  # (d,)


def probe_model() -> Pipeline:
    """Return a logistic regression on standardised features; C = 1, so nothing is chosen."""
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))


def body_features(pictures: Sequence[RGB], config: Config) -> NDArray[np.float32]:
    """Run pictures, RGB uint8 (H, W, 3), through the body once: (N, 2 * channels).

    Raises:
        ConfigError: the initial weights are not available.
    """
    device = resolve_device(config.runtime.device)
    keep_freed_memory()
    torch.manual_seed(config.seed)  # for random initial weights
    threads = set_threads(config.runtime.threads)
    model = create_model(
        config.model.arch, pretrained=config.model.pretrained, weights=config.model.weights
    )
    pooled, flattened = list(model[1].children())[:2]
    extract = torch.nn.Sequential(model[0], pooled, flattened).eval().to(device)
    extract = extract.to(memory_format=torch.channels_last)
    mean, std = normalisation(config.model.arch)

    def read(indices: Sequence[int]) -> NDArray[np.float32]:
        size, unsharp = config.data.image_size, config.augment.unsharp
        squares = [to_square(pictures[index], size, unsharp) for index in indices]
        views = [seen(square, config.data.view) for square in squares]
        return normalise(np.stack(views), mean, std)  # (B, 3, S, S)

    batches = [range(i, min(i + BATCH, len(pictures))) for i in range(0, len(pictures), BATCH)]
    found = []
    with ThreadPoolExecutor(threads) as pool, torch.inference_mode():
        for images in map_ahead(pool, read, batches, threads + 1):
            found.append(extract(torch.from_numpy(images).to(device)).float().cpu().numpy())
    return np.concatenate(found)


def unseen_features(manifest: Manifest) -> NDArray[np.float32]:
    """Return features of each image by a network that was trained on none of them: (N, d)."""
    return body_features(Pictures(manifest), Config(model=ModelConfig(arch=UNSEEN)))


def fit(features: Features, y: Labels, groups: Sequence[str], seed: int) -> PredictProba:
    """Learn from (n, d) features: filter, swarm and number of neighbours by inner grouped folds."""
    middle, spread = features.mean(axis=0), features.std(axis=0)
    scaled = (features - middle) / np.where(spread > 0, spread, 1)
    folds = inner_folds(y, groups, seed)
    kept = _filtered(scaled, y)
    candidates = scaled[:, kept]

    def cost(subset: Subset) -> float:
        size = SIZE_COST * float(subset.mean())
        return _error(candidates[:, subset], y, folds, NEIGHBOURS[0]) + size

    chosen = kept[salp_swarm(cost, len(kept), seed)]
    errors = [_error(scaled[:, chosen], y, folds, count) for count in NEIGHBOURS]
    reader = KNeighborsClassifier(NEIGHBOURS[int(np.argmin(errors))]).fit(scaled[:, chosen], y)

    def predict(test: Features) -> NDArray[np.float64]:
        new = (test - middle) / np.where(spread > 0, spread, 1)
        return np.asarray(reader.predict_proba(new[:, chosen])[:, 1])

    return predict


def _filtered(scaled: Features, y: Labels) -> NDArray[np.intp]:
    """The numbers of the features that separate the classes best, without near copies."""
    ranked = np.argsort(-separation(scaled, y), kind="stable")
    kept: list[int] = []
    for number in ranked:
        alike = np.abs(scaled[:, kept].T @ scaled[:, number]) / len(scaled)  # (kept,) correlations
        if alike.max(initial=0) < COPY:
            kept.append(int(number))
        if len(kept) == MOST:
            break
    return np.array(kept)


def _error(features: Features, y: Labels, folds: NDArray[np.intp], count: int) -> float:
    """Share of images whose nearest `count` neighbours outside their own fold outvote them."""
    squares = np.square(features).sum(axis=1)
    distance = squares[:, None] + squares - 2 * features @ features.T  # (n, n)
    distance[folds[:, None] == folds] = np.inf
    nearest = np.argpartition(distance, count, axis=1)[:, :count]
    return float(np.mean((y[nearest].mean(axis=1) > 0.5) != y))


def salp_swarm(
    cost: Callable[[Subset], float],
    features: int,
    seed: int,
    salps: int = SALPS,
    steps: int = STEPS,
) -> Subset:
    """Return the cheapest subset of features that the Salp Swarm Algorithm finds.

    A feature belongs to a subset where its coordinate in the unit cube exceeds 1/2.

    Args:
        cost: of a subset with at least one feature; lower is better.
        features: number of features to choose from, at least 1.
        seed: equal seeds give equal subsets.
        salps, steps: `cost` is called salps * steps times.

    Source: Mirjalili et al., Adv. Eng. Softw. 114 (2017) 163-191, equations 3.1 to 3.4, with the
    first half of the chain leading as in the authors' own program.
    """
    rng = np.random.default_rng(seed)
    chain = rng.random((salps, features))
    food, least = chain[0], np.inf
    for step in range(1, steps + 1):
        costs = [cost(_subset(salp)) for salp in chain]
        if min(costs) < least:
            food, least = chain[int(np.argmin(costs))].copy(), min(costs)
        reach = 2 * np.exp(-((4 * step / steps) ** 2))  # c1: far at first, near at the end
        _move(chain, food, reach, rng)
    return _subset(food)


def _move(
    chain: NDArray[np.float64], food: NDArray[np.float64], reach: float, rng: np.random.Generator
) -> None:
    """Leaders move around the food, each other salp half of the way to the one before it."""
    leaders = max(1, len(chain) // 2)
    steps = reach * rng.random((leaders, len(food)))
    signs = np.where(rng.random(steps.shape) < 0.5, -1, 1)
    chain[:leaders] = food + signs * steps
    for salp in range(leaders, len(chain)):
        chain[salp] = (chain[salp] + chain[salp - 1]) / 2
    np.clip(chain, 0, 1, out=chain)


def _subset(salp: NDArray[np.float64]) -> Subset:
    chosen = np.asarray(salp > 0.5)
    if not chosen.any():
        chosen[np.argmax(salp)] = True
    return chosen
