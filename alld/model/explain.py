"""Show where in an image the evidence lies: Grad-CAM at the last features before the head.

P(blast) depends on the logits only through their margin, blast minus healthy, so the map is of that
margin: positive where the features speak for blast, negative where they speak for healthy. It is
not cut off at zero, as evidence against a verdict counts too.

A map has some 7 x 7 places, each the centre of a field of view much larger than itself, and its sum
is no exact share of the logits. `alld.evaluation.explanation` measures how far to trust it.

Source: Selvaraju et al., Grad-CAM, ICCV 2017, without its rectifier; captum's LayerGradCam.
"""

import torch
from captum.attr import LayerGradCam
from torch import Tensor, nn

from alld.data.manifest import BLAST, HEALTHY
from alld.errors import ConfigError
from alld.model.backbones import Body
from alld.model.network import ORIENTATIONS
from alld.model.torch_network import turned, turned_back

MIN_PLACES = 3  # along either side; with 2 there is no middle


def evidence(model: nn.Sequential, images: Tensor, *, tta: bool = False) -> Tensor:
    """Return the evidence for blast (positive) or healthy (negative) at each place, in logits.

    Args:
        model: Sequential(Body, head) in evaluation mode, folded or not.
        images: (B, 3, S, S), normalised.
        tta: return the mean over eight orientations, each map turned back.

    Returns:
        (B, h, w). With a head that only averaged, the sum would be the margin less its constant.

    Raises:
        ConfigError: the features do not tell, or too coarsely, where in the image they come from.
    """
    if not tta:
        return _of_view(model, images)
    total = torch.zeros((), device=images.device)
    for orientation in range(ORIENTATIONS):
        found = _of_view(model, turned(images, orientation))
        total = total + turned_back(found, orientation)  # (B, h, w)
    return total / ORIENTATIONS


def _of_view(model: nn.Sequential, images: Tensor) -> Tensor:
    body, head = model
    assert isinstance(body, Body)
    if body.mixes_places:
        raise ConfigError(
            "heat map: this network's features are tokens, which attention fills from anywhere in "
            "the image: where one stands is not where it looked; take a convolutional network"
        )
    with torch.no_grad():  # the gradient is needed with respect to the features only
        features = body(images)  # (B, C, h, w)
    if min(features.shape[2:]) < MIN_PLACES:
        height, width = features.shape[2:]
        raise ConfigError(
            f"heat map: at {images.shape[2]} px this network's last features are {height} x "
            f"{width} cells, and a map needs {MIN_PLACES} x {MIN_PLACES}; "
            "train with a larger data.image_size"
        )
    place = nn.Identity()  # the layer that captum hooks

    def margin(features: Tensor) -> Tensor:
        logits: Tensor = head(place(features))
        return logits[:, BLAST] - logits[:, HEALTHY]  # (B,)

    found: Tensor = LayerGradCam(margin, place).attribute(features.requires_grad_())
    return found.detach()[:, 0]  # (B, 1, h, w) to (B, h, w)
