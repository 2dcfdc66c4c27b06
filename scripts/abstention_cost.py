"""Measure the cost of recognising pictures out of domain, against the forward pass.

    python scripts/abstention_cost.py --arch efficientnet_lite0

One thread, batches of 16, as each thread of `alld predict` works on a CPU. The last line is JSON:
seconds of the forward pass, of facts and scores, and the number of images.
"""

import argparse
import json
import os
import time

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as `alld` does, before torch is loaded

import activated  # noqa: F401 - says which environment to activate
import numpy as np
import torch

from alld.cells.facts import picture_facts
from alld.data.preprocess import normalise
from alld.model.abstain import fit_limits
from alld.model.architectures import normalisation
from alld.model.backbones import create_model
from alld.model.torch_network import features_and_logits, fold_batch_norm
from alld.runtime.device import keep_freed_memory

BATCH, REFERENCES = 16, 166  # training images of ALL-IDB2


def main() -> None:
    """Time both on the same noise, in turn."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arch", default="efficientnet_lite0")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--batches", type=int, default=20)
    options = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    size, rng = options.image_size, np.random.default_rng(0)
    model = fold_batch_norm(create_model(options.arch, pretrained=False), size)
    model.to(memory_format=torch.channels_last)
    squares = rng.integers(0, 256, (BATCH, size, size, 3)).astype(np.uint8)
    images = torch.from_numpy(normalise(squares, *normalisation(options.arch)))
    forward = score = 0.0
    limits = None
    for _ in range(options.batches + 1):
        began = time.perf_counter()
        with torch.inference_mode():
            features = features_and_logits(model, images)[0].numpy()
        middle = time.perf_counter()
        facts = np.stack([picture_facts(square, size) for square in squares])
        if limits is None:  # the first round warms up, and learns limits from copies with noise
            seen = [np.repeat(part, REFERENCES // BATCH + 1, axis=0) for part in (features, facts)]
            noisy = [part + rng.normal(0, 0.01, part.shape) for part in seen]
            references = noisy[0].astype(np.float32), noisy[1]
            limits = fit_limits(references, references, 2.5)
            continue
        limits.scores(features, facts)
        forward += middle - began
        score += time.perf_counter() - middle
    images_seen = options.batches * BATCH
    print(json.dumps({"forward": forward, "score": score, "images": images_seen}))


if __name__ == "__main__":
    main()
