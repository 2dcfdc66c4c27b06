"""fastai's Adam with its steps fused: one call for all parameters of a layer group.

fastai walks over the parameters one by one, five small operations each; on a GPU that waits for
Python. The arithmetic is the same: Adam (Kingma and Ba 2015) with decoupled weight decay
(Loshchilov and Hutter 2019), epsilon 1e-5 outside the root, no decay of batch norm and biases.
"""

from collections.abc import Iterable
from typing import Any

import torch
from fastai.optimizer import Optimizer
from torch import Tensor, nn
from torch.optim.adamw import adamw

EPSILON = 1e-5  # fastai's; torch's own default is 1e-8


class FusedAdam(Optimizer):  # type: ignore[misc]
    """An optimiser for fastai's Learner: hyperparameters by layer group, state by parameter.

    `lr`, `mom` (beta 1), `sqr_mom` (beta 2) and `wd` are what fastai's schedulers set.
    """

    def __init__(
        self,
        groups: Iterable[Iterable[nn.Parameter]],
        lr: float,
        *,
        mom: float = 0.9,
        sqr_mom: float = 0.99,
        wd: float = 0.01,
    ) -> None:
        parameters = [list(group) for group in groups]
        super().__init__(parameters, [], lr=lr, mom=mom, sqr_mom=sqr_mom, wd=wd)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        """Update every parameter that has a gradient."""
        together: dict[tuple[Any, ...], list[nn.Parameter]] = {}
        for parameter, _, state, hyper in self.all_params(with_grad=True):
            decay = hyper["wd"] if state.get("do_wd", True) else 0.0
            key = (hyper["lr"], hyper["mom"], hyper["sqr_mom"], decay)
            together.setdefault(key, []).append(parameter)
        for (lr, beta1, beta2, decay), parameters in together.items():
            states = [self._state(parameter) for parameter in parameters]
            adamw(
                list(parameters),
                [_gradient(parameter) for parameter in parameters],
                [state["grad_avg"] for state in states],
                [state["sqr_avg"] for state in states],
                [],
                [state["step"] for state in states],
                fused=True,
                amsgrad=False,
                beta1=float(beta1),
                beta2=float(beta2),
                lr=float(lr),
                weight_decay=float(decay),
                eps=EPSILON,
                maximize=False,
            )

    def zero_grad(self) -> None:
        """Drop the gradients; writing zeros into them would be one more pass over the weights."""
        for parameter, *_ in self.all_params():
            parameter.grad = None

    def _state(self, parameter: nn.Parameter) -> dict[str, Any]:
        state: dict[str, Any] = self.state[parameter]
        if "step" not in state:
            state["grad_avg"] = torch.zeros_like(parameter)
            state["sqr_avg"] = torch.zeros_like(parameter)
            state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
        return state


def _gradient(parameter: nn.Parameter) -> Tensor:
    """The gradient in the parameter's own memory format: the fused step goes by addresses."""
    gradient = parameter.grad
    assert gradient is not None
    if gradient.stride() == parameter.stride():
        return gradient
    return torch.empty_like(parameter).copy_(gradient)
