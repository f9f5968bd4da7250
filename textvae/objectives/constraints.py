"""Free bits: a rate below which the objective does not push. Shapes: B sentences, D latent dimensions."""

from __future__ import annotations

from typing import Literal

from torch import Tensor


def free_bits_penalty(
    rate: Tensor,
    rate_per_dimension: Tensor | None,
    free_bits: float,
    per: Literal["total", "dimension"],
    over: Literal["batch", "sentence"],
) -> Tensor:
    """The rate that is charged: max(free_bits, rate).

    Args:
        rate: (B,).
        rate_per_dimension: (B,D), needed for per="dimension".
        free_bits: total in nats; spread evenly over the dimensions for per="dimension".
        per: clamp the sum, or each dimension.
        over: clamp the mean over the batch, or each sentence.

    Returns:
        Scalar: the charged rate, mean over sentences, in nats.

    Raises:
        ValueError: per="dimension" with a rate that does not factorise.

    Source: Kingma et al. 2016, arXiv 1606.04934, equation 15 (a group of dimensions, mean over the batch).
    """
    if not free_bits:  # an estimate of the rate may be below 0, where nothing is to be clamped
        return rate.mean()
    if per == "dimension":
        if rate_per_dimension is None:
            raise ValueError(
                "objective.free_bits_per: 'dimension' needs a rate that factorises over dimensions, which this "
                "posterior and prior do not give; choose total"
            )
        terms, floor = rate_per_dimension, free_bits / rate_per_dimension.shape[1]
    else:
        terms, floor = rate[:, None], free_bits
    if over == "batch":
        return terms.mean(0).clamp_min(floor).sum()
    return terms.clamp_min(floor).sum(1).mean()
