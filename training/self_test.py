"""Whether the compiled operations say here what torch says in fp32, forward and backward: asked before they are used.

What is compiled elsewhere was tested elsewhere. Owns the small cases, which take half a second and are
large enough for all threads. Knows how each
operation is called, and nothing of how it is made.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import rms_norm, silu

from training import kernel

NEAR = 0.02
"""How far an answer may be from torch's, as a share of its norm: bf16 rounds by 0.003."""
Case = tuple[list[Tensor], list[Tensor]]
"""What is said here, and what torch says."""


@torch.enable_grad()
def wrong(*, tiled: bool) -> str:
    """Which operations say something else than torch; empty where none does. `tiled`: linear layers are looked at."""
    cases = [_norm, _gate, _softmax, _words, _tree, *([_linear] if tiled else [])]
    return ", ".join(case.__name__[1:] for case in cases if not _near(*case()))


def _norm() -> Case:
    x, gradient, weight = _draw(2100, 64), _draw(2100, 64, seed=1), _draw(64)
    y, by = kernel.norm(x, weight, 1e-5)
    theirs = _torch(lambda x: rms_norm(x, [64], weight.float(), 1e-5), gradient, x)
    return [y, kernel.norm_backward(gradient, x, weight, by)], theirs


def _gate() -> Case:
    x, up, gradient = _draw(2100, 64), _draw(2100, 64, seed=1), _draw(2100, 64, seed=2)
    ours = [kernel.gated(x, up), *kernel.gated_backward(gradient, x, up)]
    return ours, _torch(lambda x, up: silu(x) * up, gradient, x, up)


def _softmax() -> Case:
    scores, gradient = _draw(6, 150, 150), _draw(6, 150, 150, seed=1)
    hidden = torch.full((150, 150), -torch.inf).triu(1)
    likely = kernel.causal_softmax(scores.clone(), 0.5)
    theirs = _torch(lambda x: torch.softmax(x * 0.5 + hidden, -1), gradient, scores)
    return [likely, kernel.causal_softmax_backward(gradient.clone(), likely, 0.5)], theirs


def _words() -> Case:
    scores, targets = _draw(70, 2001), torch.arange(70)
    wide = scores.float() - scores.float().amax(-1, keepdim=True)
    return [*kernel.word_powers(scores, targets), scores], [
        wide[targets, targets],
        wide.exp().sum(-1),
        wide.exp(),
    ]


def _tree() -> Case:
    random = torch.Generator().manual_seed(0)
    rows, first = torch.randint(0, 40, (8, 40), generator=random), torch.randperm(320, generator=random)[:40]
    nodes, by_row = _draw(40, 8, 64), _draw(8, 8, 40, 64)
    ours = [
        kernel.spread(nodes, rows), kernel.gather(by_row, rows, 40),
        kernel.pick(by_row, first), kernel.put_back(nodes, first, 8, 40),
    ]  # fmt: skip
    spread = _torch(lambda nodes: nodes[rows].transpose(1, 2), by_row, nodes)
    return ours, spread + _torch(lambda rows: rows.transpose(1, 2).flatten(0, 1)[first], nodes, by_row)


def _linear() -> Case:
    x, gradient, weight = _draw(700, 64), _draw(700, 96, seed=1), _draw(96, 64)
    a, b, wide = _draw(8, 64, seed=2).float(), _draw(96, 8).float(), weight.float()
    y, small = kernel.linear(x, weight, weight[:, 0].contiguous(), a, b, 2.0)
    of_x, *learned = kernel.linear_backward(gradient, x, weight, a, b, 2.0, small, asked=True)
    assert of_x is not None
    theirs = _torch(lambda x, a, b: x @ wide.T + wide[:, 0] + 2.0 * (x @ a.T) @ b.T, gradient, x, a, b)
    return [y, of_x, *learned], theirs


def _draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).bfloat16()


def _torch(operation: Callable[..., Tensor], gradient: Tensor, *inputs: Tensor) -> list[Tensor]:
    """In fp32: the output, and each input's gradient."""
    wide = [one.float().requires_grad_() for one in inputs]
    with torch.autocast("cpu", enabled=False):
        out = operation(*wide)
    return [out.detach(), *torch.autograd.grad(out, wide, gradient.float())]


def _near(ours: list[Tensor], theirs: list[Tensor]) -> bool:
    far = [(one.float() - other).norm() / other.norm() for one, other in zip(ours, theirs, strict=True)]
    return all(float(distance) < NEAR for distance in far)  # not a number is far
