"""Batch norm folded into convolutions: the same function, fewer layers."""

import pytest
import torch
from torch import nn

from alld.model.backbones import create_model
from alld.model.folding import fold_batch_norm


def norms(model: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())


def with_statistics(model: nn.Sequential) -> nn.Sequential:
    """Running means and variances, weights and biases that are not those of a new layer."""
    torch.manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.running_var):
                nn.init.uniform_(tensor, 0.5, 1.5)
            for tensor in (module.bias, module.running_mean):
                nn.init.normal_(tensor, std=0.1)
    return model.eval()


@pytest.mark.parametrize("arch", ["efficientnet_lite0", "resnet18", "vgg16_bn"])
def test_a_folded_network_gives_the_same_logits(arch: str) -> None:
    """No batch norm is left in its body; logits agree to 1e-4 of their size."""
    model = with_statistics(create_model(arch, pretrained=False))
    folded = fold_batch_norm(model, 64)
    images = torch.randn(3, 3, 64, 64)
    assert norms(model) > 10
    assert norms(folded) == 0
    with torch.inference_mode():
        expected = model(images)
        torch.testing.assert_close(folded(images), expected, rtol=1e-4, atol=1e-4)
    assert expected.std() > 0.01


class Crossed(nn.Module):
    """A network whose batch norm stands behind a convolution and is used before it."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.convolution(self.norm(images)).mean((2, 3))


def test_where_folding_would_change_the_answer_the_model_stays_as_it_is() -> None:
    """The order in which layers are registered is a guess; the logits decide."""
    model = with_statistics(nn.Sequential(Crossed()))
    assert fold_batch_norm(model, 32) is model
    assert norms(model) == 1


def test_the_model_given_is_left_alone() -> None:
    """Folding works on a copy."""
    model = with_statistics(create_model("resnet18", pretrained=False))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    fold_batch_norm(model, 64)
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
