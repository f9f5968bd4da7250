"""Pre-norm transformer blocks with rotary or learned positions.

Shapes: B sentences, T tokens, M latent slots, K keys, H features, A heads.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from textvae.layers.rotation import decaying, rotate

# Up to so many keys plain products beat the kernel of torch on a processor in bfloat16, whose backward pass is slow.
SHORT = 128


def is_short(query: Tensor, key: Tensor) -> bool:
    """Whether `attend` takes plain products."""
    if query.device.type != "cpu" or key.shape[2] > SHORT:
        return False
    autocast = torch.is_autocast_enabled("cpu")  # which takes products in its dtype, whatever they are of
    return (torch.get_autocast_dtype("cpu") if autocast else query.dtype) == torch.bfloat16


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None = None,
    dropout: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
) -> Tensor:
    """As torch's scaled_dot_product_attention; several times faster where texts are short: see docs/performance.md.

    Args:
        query: (B,A,T,d).
        key, value: (B,A,K,d).
        mask: True where a query may look, or numbers that are added to the scores; broadcast to (B,A,T,K).
        dropout: on attention weights.
        is_causal: whether the query at t sees the keys up to t alone; then without a mask.
        scale: of the scores; d^-1/2 when None.

    Returns:
        (B,A,T,d).
    """
    if not is_short(query, key):
        return F.scaled_dot_product_attention(query, key, value, mask, dropout, is_causal, scale=scale)
    scores = query @ key.transpose(-1, -2) * (query.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if mask is not None and mask.dtype == torch.bool:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    elif mask is not None:
        scores = scores + mask
    weights = scores.softmax(-1, dtype=torch.float32).to(value.dtype)
    return F.dropout(weights, dropout) @ value


class Attention(nn.Module):
    """Multi-head attention over the sentence itself, over extra slots, or over another sequence.

    Args:
        hidden_size: H.
        num_heads: A; H must be divisible by it.
        rotary: whether queries and keys are turned by their positions.
        dropout: on attention weights.
    """

    def __init__(self, hidden_size: int, num_heads: int, rotary: bool, dropout: float):
        super().__init__()
        self.num_heads, self.rotary, self.dropout = num_heads, rotary, dropout
        self.query = nn.Linear(hidden_size, hidden_size)
        self.key_value = nn.Linear(hidden_size, 2 * hidden_size)
        self.output = nn.Linear(hidden_size, hidden_size)

    def split(self, x: Tensor) -> Tensor:
        """(B,T,H) -> (B,A,T,H/A)."""
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None,
        positions: Tensor,
        slots: tuple[Tensor, Tensor] | None = None,
        cache=None,
        layer: int = 0,
        context: Tensor | None = None,
    ) -> Tensor:
        """Attends.

        Args:
            x: (B,T,H) queries' input.
            mask: True where a query may look, broadcast to (B,A,T,K).
            positions: (T,).
            slots: keys and values (B,A,M,H/A) put before those of the sentence, without positions.
            cache: a transformers Cache that holds earlier keys and values.
            layer: index of this layer in the cache.
            context: (B,M,H), attended instead of x when given.

        Returns:
            (B,T,H).
        """
        query = self.split(self.query(x))
        key, value = (self.split(part) for part in self.key_value(x if context is None else context).chunk(2, -1))
        if self.rotary and context is None:
            angles = decaying(query.shape[-1] // 2, x.device)
            query, key = rotate(query, positions, angles), rotate(key, positions, angles)
        if cache is not None:
            key, value = cache.update(key, value, layer)
        if slots is not None:
            key, value = torch.cat([slots[0].to(key.dtype), key], 2), torch.cat([slots[1].to(value.dtype), value], 2)
        dropout = self.dropout if self.training else 0.0
        attended = attend(query, key, value, mask, dropout)
        return self.output(attended.transpose(1, 2).flatten(2))


class TransformerBlock(nn.Module):
    """x + attention(norm(x)), then (where asked for) x + cross-attention(norm(x)), then x + mlp(norm(x)).

    Args:
        hidden_size: H.
        num_heads: A.
        feedforward_size: width of the inner layer.
        rotary: rotary positions.
        dropout: on attention weights and on what each part adds.
        cross: whether there is cross-attention.

    Source: Vaswani et al. 2017, arXiv 1706.03762; the norm comes first, as in Xiong et al. 2020, arXiv 2002.04745.
    """

    def __init__(
        self, hidden_size: int, num_heads: int, feedforward_size: int, rotary: bool, dropout: float, cross: bool = False
    ):
        super().__init__()
        self.attention_norm = nn.LayerNorm(hidden_size)
        self.attention = Attention(hidden_size, num_heads, rotary, dropout)
        if cross:
            self.cross_norm = nn.LayerNorm(hidden_size)
            self.cross = Attention(hidden_size, num_heads, False, dropout)
        self.feedforward_norm = nn.LayerNorm(hidden_size)
        self.feedforward = nn.Sequential(
            nn.Linear(hidden_size, feedforward_size), nn.GELU(), nn.Linear(feedforward_size, hidden_size)
        )
        self.drop = nn.Dropout(dropout)

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None,
        positions: Tensor,
        slots: tuple[Tensor, Tensor] | None = None,
        cache=None,
        layer: int = 0,
        context: Tensor | None = None,
    ) -> Tensor:
        """(B,T,H) -> (B,T,H); the arguments are those of Attention, `context` being for the cross-attention."""
        x = x + self.drop(self.attention(self.attention_norm(x), mask, positions, slots, cache, layer))
        if context is not None:
            x = x + self.drop(self.cross(self.cross_norm(x), None, positions, context=context))
        return x + self.drop(self.feedforward(self.feedforward_norm(x)))
