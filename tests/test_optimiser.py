"""The fused Adam is fastai's Adam."""

import copy

import pytest
import torch
from fastai.optimizer import Adam
from torch import nn

from alld.training.learner import FusedAdam


def network() -> nn.Sequential:
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8 * 36, 2))
    return nn.Sequential(*layers).double()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_thirty_steps_end_at_the_same_weights_as_fastais(layout: torch.memory_format) -> None:
    """Two layer groups with rates that change, no decay for batch norm; in double precision."""
    ours = network().to(memory_format=layout)
    theirs = copy.deepcopy(ours)
    pairs = []
    for model, kind in ((ours, FusedAdam), (theirs, Adam)):
        groups = [list(model[:2].parameters()), list(model[2:].parameters())]
        optimiser = kind(groups, lr=1e-3, mom=0.9, sqr_mom=0.99, wd=0.1)
        for parameter in model[1].parameters():
            optimiser.state[parameter]["do_wd"] = False
        pairs.append((model, optimiser))
    for step in range(30):
        images, labels = torch.randn(16, 3, 8, 8).double(), torch.randint(0, 2, (16,))
        for model, optimiser in pairs:
            optimiser.set_hypers(lr=[1e-4 * (step + 1), 1e-3])
            torch.autograd.backward(nn.functional.cross_entropy(model(images), labels))
            optimiser.step()
            optimiser.zero_grad()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-11)


def test_a_gradient_in_another_memory_format_is_the_same_gradient() -> None:
    """The fused step goes by addresses; what lies otherwise is put in order first."""
    weights = [nn.Parameter(torch.arange(72.0).reshape(2, 4, 3, 3)) for _ in range(2)]
    gradient = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    layouts = (torch.contiguous_format, torch.channels_last)
    for weight, layout in zip(weights, layouts, strict=True):
        weight.grad = gradient.clone(memory_format=layout)
        FusedAdam([[weight]], lr=0.1).step()
    assert torch.equal(weights[0], weights[1])


def test_a_parameter_without_a_gradient_stays_as_it_is() -> None:
    """A frozen body is not even decayed."""
    model = network()
    body, head = list(model[:2].parameters()), list(model[2:].parameters())
    before = copy.deepcopy(body)
    for parameter in body:
        parameter.requires_grad_(False)
    optimiser = FusedAdam([body, head], lr=0.1, wd=0.5)
    model(torch.randn(4, 3, 8, 8).double()).sum().backward()
    optimiser.step()
    assert all(map(torch.equal, before, body))
