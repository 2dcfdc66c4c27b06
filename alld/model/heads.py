"""Build the heads of the networks, which pool features and give logits."""

import torch
from torch import Tensor, nn


class AdaptiveConcatPool2d(nn.Module):
    """Pool maximum and mean of each channel: (B, C, h, w) to (B, 2C, 1, 1), as in fastai."""

    def __init__(self) -> None:
        super().__init__()
        self.maximum = nn.AdaptiveMaxPool2d(1)
        self.mean = nn.AdaptiveAvgPool2d(1)

    def forward(self, features: Tensor) -> Tensor:
        return torch.cat([self.maximum(features), self.mean(features)], dim=1)


def create_head(features: int, classes: int = 2) -> nn.Sequential:
    """Return the head of fastai's `vision_learner`: (B, features, h, w) to logits (B, classes).

    Source: `add_head` in `fastai.vision.learner` of fastai 2.8.12, for layers and initial values.
    """
    head = nn.Sequential(
        AdaptiveConcatPool2d(),
        nn.Flatten(),  # (B, 2 * features)
        nn.BatchNorm1d(2 * features),
        nn.Dropout(0.25),
        nn.Linear(2 * features, 512, bias=False),
        nn.ReLU(inplace=True),
        nn.BatchNorm1d(512),
        nn.Dropout(0.5),
        nn.Linear(512, classes, bias=False),
    )
    for layer in head:
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight)
        if isinstance(layer, nn.BatchNorm1d):
            nn.init.constant_(layer.bias, 1e-3)
    return head


def create_linear_head(features: int) -> nn.Sequential:
    """Return a head without a hidden layer: (B, features, h, w) to logits (B, 2).

    It has too few parameters to learn which images are of one session, and pools as `create_head`.
    """
    return nn.Sequential(
        AdaptiveConcatPool2d(),
        nn.Flatten(),  # (B, 2 * features)
        nn.BatchNorm1d(2 * features),
        nn.Dropout(0.25),
        nn.Linear(2 * features, 2),
    )
