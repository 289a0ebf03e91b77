"""Computes each distinct prefix of a batch once, forward and backward.

Rows of one batch begin alike: the assistant's instructions, the words questions start with and, in a
preference pair, the whole prompt. A causal model computes the same for the same beginning, so the batch is
folded into the tree of its prefixes: every layer but attention sees one position for each node of the tree,
padding is left out, and attention sees the rows as they were. The gradient of a node is the sum over the
rows that pass through it; only the order of additions differs. Shared prompts in preference tuning are
"prefix sharing" (arXiv 2410.20305); trees of them are "tree training" (arXiv 2511.00413). Owns the folding
and the proof that it changes nothing. Knows no loss and no trainer.
"""

import logging
import types
from typing import Any, NamedTuple

import torch
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask
from transformers.modeling_utils import AttentionInterface

from training import kernel
from training.attention import LONGEST, attend, hide_later

ATTENTION = "shared_prefix"
"""The name under which transformers knows our attention."""
TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 1e-1, torch.float16: 1e-2}
"""How far a folded batch may be from a plain one, as a share of the largest hidden value: a wrong tree is as far as the
value itself, and in bf16 the two ways of attention round apart in every layer."""

log = logging.getLogger(__name__)


class Tree(NamedTuple):
    """A batch of `B` rows of `L` positions folded into `T` nodes."""

    tokens: torch.Tensor
    """`[T]`: each node's token."""
    depths: torch.Tensor
    """`[T]`: each node's position in its rows."""
    rows: torch.Tensor
    """`[B, L]`: the node of each position; node 0 where there is padding, which nothing looks at."""
    first: torch.Tensor
    """`[T]`: where each node occurs first, as an index into the flattened rows."""


def share_prefixes(model: Any) -> None:
    """Have a causal language model (or a PEFT model around one) fold the batches it is given.

    Does nothing to a model whose layers do not all attend to everything before them. The first batch of
    several rows is computed both ways; where the two differ, this model is left as it was and the log says so.
    """
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    backbone, config = causal.base_model, causal.config
    if not _attends_to_all(config) or config._attn_implementation != "sdpa":
        return
    AttentionInterface.register(ATTENTION, _attention)
    AttentionMaskInterface.register(ATTENTION, sdpa_mask)
    config._attn_implementation = ATTENTION
    plain, proven = backbone.forward, False

    def forward(self: Any, input_ids: Any = None, attention_mask: Any = None, **kwargs: Any) -> Any:
        nonlocal proven
        if input_ids is None or not _foldable(attention_mask) or kwargs.get("position_ids") is not None:
            return plain(input_ids=input_ids, attention_mask=attention_mask, **kwargs)
        tree = fold(input_ids, attention_mask)
        several = len(input_ids) > 1  # the tree of one row is the row itself, and proves nothing
        if not proven and several:
            proven = _agree(plain, tree, input_ids, attention_mask, kwargs)
        if not proven and several:
            self.forward, config._attn_implementation = plain, "sdpa"
            return plain(input_ids=input_ids, attention_mask=attention_mask, **kwargs)
        return _folded(plain, tree, kwargs)

    backbone.forward = types.MethodType(forward, backbone)


def fold(input_ids: torch.Tensor, attention_mask: torch.Tensor | None) -> Tree:
    """The tree of the prefixes of a batch `[B, L]` that is padded on the right."""
    lengths = (
        [input_ids.shape[1]] * len(input_ids) if attention_mask is None else attention_mask.sum(1).tolist()
    )
    nodes: dict[tuple[int, int], int] = {}
    tokens, depths, rows, first = [], [], [], []
    for at, (ids, length) in enumerate(zip(input_ids.tolist(), lengths, strict=True)):
        row, parent = [0] * len(ids), -1
        for depth, token in enumerate(ids[:length]):
            node = nodes.setdefault((parent, token), len(tokens))
            if node == len(tokens):
                tokens.append(token)
                depths.append(depth)
                first.append(at * len(ids) + depth)
            row[depth] = parent = node
        rows.append(row)
    return Tree(*(torch.tensor(each, device=input_ids.device) for each in (tokens, depths, rows, first)))


def _folded(plain: Any, tree: Tree, kwargs: dict[str, Any]) -> Any:
    """The backbone's output for the rows, each node computed once."""
    asked = {
        "input_ids": tree.tokens[None],
        "position_ids": tree.depths[None],
        "attention_mask": torch.ones(1, 1, 1, 1, dtype=torch.bool),  # four dimensions: no other is made
        "use_cache": False,
        "tree": tree,
        "masks": {},
    }
    folded = plain(**(kwargs | asked))
    hidden = folded.last_hidden_state[0]
    folded.last_hidden_state = hidden.index_select(0, tree.rows.flatten()).view(*tree.rows.shape, -1)
    return folded


def _attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    *,
    tree: Tree | None = None,
    masks: dict[int, torch.Tensor] | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention over the rows, for `[1, heads, T, d]` of their tree; gives `[1, T, heads, d]`.

    Padding stands at the end of a row, where no token of the row looks. Without a tree, plain attention.
    """
    if tree is None:
        return sdpa_attention_forward(module, query, key, value, mask, **kwargs)
    widths = [one.shape[-1] for one in (query, key, value)]
    if kernel.takes(query, *widths) and query.dtype is key.dtype is value.dtype:
        query, key, value = (_Spread.apply(one, tree.rows) for one in (query, key, value))
        seen = _by_row(module, query, key, value, masks, kwargs)
        return _Picked.apply(seen.transpose(1, 2), tree.first)[None], None
    together = torch.cat((query, key, value), dim=1)[0].index_select(1, tree.rows.flatten())
    by_row = together.unflatten(1, tree.rows.shape).transpose(0, 1)
    query, key, value = by_row.split((query.shape[1], key.shape[1], value.shape[1]), dim=1)
    seen = _by_row(module, query, key, value, masks, kwargs)
    return seen.flatten(0, 1).index_select(0, tree.first)[None], None


class _Spread(torch.autograd.Function):
    """`[B, heads, L, d]` of `[1, heads, T, d]`: what the rows of a tree's nodes are."""

    @staticmethod
    def forward(ctx: Any, nodes: Any, rows: Any) -> Any:
        ctx.rows, ctx.count = rows, nodes.shape[2]
        return kernel.spread(nodes[0].transpose(0, 1), rows)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return kernel.gather(gradients[0], ctx.rows, ctx.count).transpose(0, 1)[None], None


class _Picked(torch.autograd.Function):
    """`[T, heads, d]` of `[B, heads, L, d]`: each node where it occurs first."""

    @staticmethod
    def forward(ctx: Any, by_row: Any, first: Any) -> Any:
        ctx.first, ctx.batch, ctx.length = first, len(by_row), by_row.shape[2]
        return kernel.pick(by_row, first)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return kernel.put_back(gradients[0], ctx.first, ctx.batch, ctx.length), None


def _by_row(
    module: Any, query: Any, key: Any, value: Any, masks: Any, kwargs: dict[str, Any]
) -> torch.Tensor:
    """`[B, L, heads, d]`; `masks` keeps what the layers of one forward pass have in common."""
    length, scaling = query.shape[2], kwargs.get("scaling")
    if query.device.type != "cpu" or length > LONGEST or scaling is None or kwargs.get("dropout"):
        return sdpa_attention_forward(module, query, key, value, None, **kwargs)[0]
    sharing = query.shape[1] // key.shape[1]
    if not kernel.takes(query) and sharing not in masks:
        masks[sharing] = hide_later(length, sharing, query.dtype)
    return attend(query, key, value, masks.get(sharing), scaling)


def _attends_to_all(config: Any) -> bool:
    kinds = set(getattr(config, "layer_types", None) or ())
    return kinds <= {"full_attention"} and not getattr(config, "sliding_window", None)


def _foldable(attention_mask: torch.Tensor | None) -> bool:
    """Whether a batch has no padding but on the right."""
    if attention_mask is None:
        return True
    return attention_mask.dim() == 2 and bool((attention_mask[:, 1:] <= attention_mask[:, :-1]).all())


@torch.no_grad()
def _agree(
    plain: Any, tree: Tree, input_ids: torch.Tensor, attention_mask: Any, kwargs: dict[str, Any]
) -> bool:
    """Whether folding leaves every hidden state of this batch what it was."""
    wanted = plain(input_ids=input_ids, attention_mask=attention_mask, **{**kwargs, "use_cache": False})
    found = _folded(plain, tree, kwargs)
    real = torch.ones_like(tree.rows, dtype=torch.bool) if attention_mask is None else attention_mask.bool()
    difference = (wanted.last_hidden_state - found.last_hidden_state)[real].abs().max()
    limit = TOLERANCE.get(difference.dtype, 1e-3) * wanted.last_hidden_state[real].abs().max()
    if difference <= limit:
        return True
    log.warning(
        "Shared prefixes change this model's hidden states by %.2g; it is trained without.", difference
    )
    return False
