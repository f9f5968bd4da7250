"""Negative log-likelihood of tokens under a softmax over a large vocabulary.

Shapes: N tokens, E features, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

# Logits in memory at a time. On a processor no more rows either: enough for its matrix unit, few enough for its cache.
LOGITS_AT_ONCE = {"cpu": 20_480_000}
LOGITS_AT_ONCE_ELSEWHERE = 64_000_000
ROWS_AT_ONCE = 512
# Devices on which exponentials are dear: one a logit. On others, asking whether any is small would be to wait.
ONE_EXPONENTIAL = {"cpu"}
# Residuals that a training step holds until its backward pass; a longer one computes them again.
RESIDUALS_HELD = 128_000_000
# Below this, a probability no longer has all of float32's digits.
_SMALL = 1e-30


class _TokenNll(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx, features: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, softcap: float | None
    ) -> Tensor:
        nll = torch.empty(features.shape[0], dtype=torch.float32, device=features.device)
        wants_features, wants_weight, wants_bias = ctx.needs_input_grad[:3]
        ctx.softcap = softcap
        ctx.frozen = wants_features and not (wants_weight or wants_bias)
        ctx.held = (wants_weight or wants_bias) and nll.numel() * weight.shape[0] <= RESIDUALS_HELD
        ctx.held &= features.dtype != torch.float16  # in which small probabilities are 0 until they are scaled up
        if ctx.frozen:
            # All that the backward pass will need is what the features are to be moved by.
            kept = torch.empty_like(features)
        elif ctx.held:
            kept = features.new_empty(len(features), len(weight))
        else:
            kept = features.new_empty(0)
        for rows in _chunks(features, weight):
            logits = bent(F.linear(features[rows], weight, bias).float(), softcap)
            if ctx.frozen or ctx.held:
                nll[rows], residual = _residual(logits, targets[rows], softcap)
                kept[rows] = residual.to(features.dtype) @ weight if ctx.frozen else residual
            else:
                nll[rows] = F.cross_entropy(logits, targets[rows], reduction="none")
        if ctx.frozen:
            ctx.save_for_backward(kept)
        else:
            ctx.save_for_backward(kept, features, weight, bias, targets)
        return nll

    @staticmethod
    def backward(ctx, grad: Tensor):
        kept, *given = ctx.saved_tensors
        if ctx.frozen:
            return (kept * grad[:, None]).to(kept.dtype), None, None, None, None
        features, weight, bias, targets = given
        if not ctx.held:
            return _from_anew(features, weight, bias, targets, grad, ctx)
        # Of a mean all are the same: rounded as they are, the whole gradient would be off by that.
        top = grad.abs().max().clamp_min(torch.finfo(grad.dtype).tiny) if len(grad) else 1.0
        scale = (grad / top).to(kept.dtype)
        return (
            (kept @ weight * grad[:, None]).to(kept.dtype) if ctx.needs_input_grad[0] else None,
            kept.t() @ (features * scale[:, None]) * top if ctx.needs_input_grad[1] else None,
            scale @ kept * top if ctx.needs_input_grad[2] else None,
            None,
            None,
        )


def bent(logits: Tensor, softcap: float | None) -> Tensor:
    """Logits as they are, or smoothly held within plus and minus softcap (Gemma 2; Bello et al. 2017, 1611.09940)."""
    return logits if softcap is None else softcap * torch.tanh(logits / softcap)


def _chunks(features: Tensor, weight: Tensor) -> Iterator[slice]:
    device = features.device.type
    size = max(32, LOGITS_AT_ONCE.get(device, LOGITS_AT_ONCE_ELSEWHERE) // len(weight))
    if device == "cpu":
        size = min(size, ROWS_AT_ONCE)
    return (slice(start, start + size) for start in range(0, len(features), size))


def _residual(logits: Tensor, targets: Tensor, softcap: float | None) -> tuple[Tensor, Tensor]:
    """Nll (n,) and the gradient of the logits (n,V), softmax minus one-hot."""
    target = targets[:, None]
    if logits.device.type in ONE_EXPONENTIAL:
        probabilities = logits.softmax(1)
        of_target = probabilities.gather(1, target)
        nll = -of_target.log().squeeze(1)
        small = (of_target < _SMALL).squeeze(1)
        if small.any():
            nll[small] = F.cross_entropy(logits[small], targets[small], reduction="none")
    else:
        log_probabilities = logits.log_softmax(1)
        nll = -log_probabilities.gather(1, target).squeeze(1)
        probabilities = log_probabilities.exp_()
        of_target = probabilities.gather(1, target)
    residual = probabilities.scatter_(1, target, of_target - 1)
    return nll, residual if softcap is None else residual * (1 - (logits / softcap).square())


def _from_anew(features, weight, bias, targets, grad, ctx) -> tuple[Tensor | None, ...]:
    """The backward pass where there are too many residuals to hold: chunk by chunk, sums in float32."""
    d_features = torch.empty_like(features)
    d_weight, d_bias = torch.zeros_like(weight, dtype=torch.float32), torch.zeros(len(weight), device=weight.device)
    for rows in _chunks(features, weight):
        logits = bent(F.linear(features[rows], weight, bias).float(), ctx.softcap)
        _, residual = _residual(logits, targets[rows], ctx.softcap)
        residual = residual.mul_(grad[rows, None]).to(features.dtype)
        d_features[rows] = residual @ weight
        d_weight += residual.t() @ features[rows]
        d_bias += residual.sum(0, dtype=torch.float32)
    wanted = ctx.needs_input_grad
    return (
        d_features if wanted[0] else None,
        d_weight.to(weight.dtype) if wanted[1] else None,
        d_bias.to(weight.dtype) if wanted[2] else None,
        None,
        None,
    )


def token_nll(
    features: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, softcap: float | None = None
) -> Tensor:
    """-log softmax(features weight^T + bias)[target] of each token, without the whole matrix of logits.

    The matrix products run in the autocast dtype; the log-sum-exp runs in float32. A softmax layer that is not trained
    costs neither the memory nor the time of its gradient.

    Args:
        features: (N,E).
        weight: (V,E).
        bias: (V,), or None.
        targets: (N,) ids.
        softcap: bound of the logits, as for `bent`.

    Returns:
        (N,) in nats, float32.
    """
    device = features.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
    bias = None if bias is None else bias.to(dtype)
    if not torch.is_grad_enabled():  # which the function itself is not told
        features, weight, bias = features.detach(), weight.detach(), None if bias is None else bias.detach()
    return _TokenNll.apply(features.to(dtype), weight.to(dtype), bias, targets, softcap)
