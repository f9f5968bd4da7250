"""What the latent variable carries, over a whole split.

Shapes: N texts, D latent dimensions.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from textvae.evaluation.likelihood import Bound
from textvae.latent import FlowedGaussian

# Posterior variance of the means above which a dimension counts as used (Burda et al. 2016, section 5.2).
ACTIVE_VARIANCE = 0.01
# Sentences over which the mutual information is taken where each pair of them costs a pass through a flow.
FLOW_SENTENCES = 1000
PAIRS_AT_ONCE = 2_000_000


def active_units(mu: Tensor, support: str = "euclidean") -> int | None:
    """Dimensions whose posterior mean varies over the texts: Var_x(mu_d) > 0.01.

    On the unit sphere it is Var_x(mu_d) > 0.01 / D, since the uniform prior has a variance of 1 / D where the standard
    normal has 1.

    Args:
        mu: (N,D) posterior means of a split.
        support: where they lie, euclidean or sphere.

    Returns:
        How many; None of a single text.

    Source: Burda et al. 2016, arXiv 1509.00519, section 5.2.
    """
    return int((mu.var(0) > least_variance(support, mu.shape[1])).sum()) if len(mu) > 1 else None


def least_variance(support: str, dimensions: int) -> float:
    """Variance of mu above which a dimension is active."""
    return ACTIVE_VARIANCE / dimensions if support == "sphere" else ACTIVE_VARIANCE


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
    return min(_information(posteriors, z), math.log(len(z)))  # which rounding may exceed


def _information(posteriors: list, z: Tensor) -> float:
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


def latent_information(bound: Bound, seed: int = 0) -> dict[str, float | int]:
    """Mutual information with its cap, and what of the rate is not information: KL(q(z)||p(z)).

    Args:
        bound: of a split, with its posteriors.
        seed: of the choice of FLOW_SENTENCES sentences where the posterior is a flow and the split has more.

    Returns:
        `mutual_information`, `mutual_information_sentences`, `mutual_information_cap` and `marginal_kl`, all over the
        same sentences, in nats.
    """
    posteriors, z, rate = bound.posteriors, bound.z, bound.rate[bound.order]
    if isinstance(posteriors[0], FlowedGaussian) and len(z) > FLOW_SENTENCES:
        chosen = torch.zeros(len(z), dtype=torch.bool)
        chosen[torch.randperm(len(z), generator=torch.Generator().manual_seed(seed))[:FLOW_SENTENCES]] = True
        parts = chosen.split([len(q.mean) for q in posteriors])
        posteriors = [q[part.to(z.device)] for q, part in zip(posteriors, parts, strict=True) if part.any()]
        z, rate = z[chosen.to(z.device)], rate[chosen]
    information = mutual_information(posteriors, z)
    return {
        "mutual_information": information,
        "mutual_information_sentences": len(z),
        "mutual_information_cap": math.log(len(z)),
        "marginal_kl": float(rate.double().mean()) - information,
    }
