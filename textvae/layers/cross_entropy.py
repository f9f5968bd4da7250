"""Negative log-likelihood of tokens under a softmax over a large vocabulary.

Shapes: N tokens, E features, V vocabulary.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# Rows of logits in memory at a time: small enough for a processor's cache, large enough for its matrix unit.
CHUNK = 256


class _TokenNll(torch.autograd.Function):
    @staticmethod
    def forward(ctx, features: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
        wants_grad = any(ctx.needs_input_grad)
        nll = torch.empty(features.shape[0], dtype=torch.float32, device=features.device)
        rows_kept = features.shape[0] if wants_grad else 0
        residual = features.new_empty(rows_kept, weight.shape[0])
        for start in range(0, features.shape[0], CHUNK):
            rows = slice(start, start + CHUNK)
            logits = F.linear(features[rows], weight, bias).float()
            target = targets[rows, None]
            peak = logits.amax(1, keepdim=True)
            target_logit = logits.gather(1, target)
            softmax = logits.sub_(peak).exp_()
            total = softmax.sum(1, keepdim=True)
            nll[rows] = (total.log() + peak - target_logit).squeeze(1)
            if wants_grad:
                gradient = softmax.div_(total)  # softmax minus one-hot is the gradient of the logits
                gradient.scatter_add_(1, target, torch.full_like(total, -1.0))
                residual[rows] = gradient
        if wants_grad:
            ctx.save_for_backward(features, weight, residual)
        return nll

    @staticmethod
    def backward(ctx, grad: Tensor):
        features, weight, residual = ctx.saved_tensors
        if not features.shape[0]:
            return torch.zeros_like(features), torch.zeros_like(weight), weight.new_zeros(weight.shape[0]), None
        scale = grad.to(features.dtype)
        return (
            (residual @ weight) * scale[:, None],
            residual.t() @ (features * scale[:, None]),
            scale @ residual,
            None,
        )


def token_nll(features: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """-log softmax(features weight^T + bias)[target] of each token, without the whole matrix of logits.

    The matrix products run in the autocast dtype; the log-sum-exp runs in float32.

    Args:
        features: (N,E).
        weight: (V,E).
        bias: (V,).
        targets: (N,) ids.

    Returns:
        (N,) in nats, float32.
    """
    device = features.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
    return _TokenNll.apply(features.to(dtype), weight.to(dtype), bias.to(dtype), targets)
