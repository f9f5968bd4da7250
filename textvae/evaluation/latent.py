"""What the latent variable carries, over a whole split.

Shapes: N texts, D latent dimensions.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

# Posterior variance of the means above which a dimension counts as used (Burda et al. 2016, section 5.2).
ACTIVE_VARIANCE = 0.01
PAIRS_AT_ONCE = 2_000_000


def active_units(mu: Tensor) -> int:
    """Dimensions whose posterior mean varies over the texts: Var_x(mu_d) > 0.01.

    Args:
        mu: (N,D) posterior means of a split.

    Source: Burda et al. 2016, arXiv 1509.00519, section 5.2.
    """
    return int((mu.var(0) > ACTIVE_VARIANCE).sum()) if len(mu) > 1 else 0


@torch.no_grad()
def mutual_information(posteriors: list, z: Tensor) -> float:
    """I(x;z) = E log q(z|x) - E log q(z), where q(z) is the mixture of the posteriors of all N texts.

    One sample of z a text. The estimate cannot exceed log N. The rate minus this is KL(q(z)||p(z)).

    Args:
        posteriors: q of each batch.
        z: (N,D), one sample of each posterior, in the same order.

    Returns:
        Nats.

    Source: Hoffman & Johnson 2016, "ELBO surgery"; Dieng et al. 2019, arXiv 1807.04863, equation 13.
    """
    n, dimensions = z.shape
    log_q, log_mixture = [], torch.full((n,), -torch.inf, device=z.device)
    start = 0
    for q in posteriors:
        size = len(q.mean)
        log_q.append(q.log_prob(z[None, start : start + size])[0])
        step = max(1, PAIRS_AT_ONCE // (size * dimensions))
        for row in range(0, n, step):
            pairs = q.log_prob(z[row : row + step, None].expand(-1, size, -1))  # each z under each q of the batch
            log_mixture[row : row + step] = torch.logaddexp(log_mixture[row : row + step], pairs.logsumexp(1))
        start += size
    return float((torch.cat(log_q) - (log_mixture - math.log(n))).double().mean())
