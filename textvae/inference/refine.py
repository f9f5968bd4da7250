"""Gradient steps for each text, from where the encoder puts it. Shapes: B sentences, D latent dimensions."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from textvae.freezing import frozen
from textvae.latent import DiagonalGaussian, kl

# Of Adam, which treats each number alone: the texts of a batch share no step.
POSTERIOR_STEP, VECTOR_STEP = 0.05, 0.1
# Nats for a step of 1 in a number below which it hardly moves: rounding must not.
FLAT = 1e-3
# Whose states a big decoder can hold for its backward pass.
TOKENS_AT_ONCE = 2048


def refined_vectors(model, batch: dict[str, Tensor], z: Tensor, steps: int) -> Tensor:
    """Latent vectors after gradient steps that follow the distortion: z that tells its text better than it did.

    Nothing draws z back to the prior but that it starts from the encoder's and that the steps are few.

    Args:
        model: a TextVAEModel in evaluation mode.
        batch: what `model.encode` takes.
        z: (B,D) where to start.
        steps: how many.

    Returns:
        (B,D), of length 1 where z lies on the sphere.

    Source: Kim et al. 2018, arXiv 1802.02550, algorithm 1, for z itself.
    """
    on_sphere = model.posterior.support == "sphere"
    size = VECTOR_STEP / z.shape[1] ** 0.5 if on_sphere else VECTOR_STEP

    def place(z: Tensor) -> Tensor:
        return F.normalize(z, dim=-1) if on_sphere else z

    def distortion(part: dict[str, Tensor], z: Tensor) -> Tensor:
        return model.distortion(part["input_ids"], part["attention_mask"], place(z)[None])

    return place(*_descend(model, batch, [z], distortion, steps, size)) if steps else z


def refined_posterior(
    model, batch: dict[str, Tensor], steps: int, generator: torch.Generator | None = None
) -> DiagonalGaussian:
    """Posteriors after gradient steps on mu and logvar that follow the negative ELBO at beta = 1.

    Args:
        model: a TextVAEModel in evaluation mode, whose posteriors are Gaussian.
        batch: what `model.encode` takes.
        steps: how many, each with one sample.
        generator: source of randomness; the global one when None.

    Raises:
        ValueError: a plain language model, or another posterior.

    Source: Kim et al. 2018, arXiv 1802.02550, algorithm 1, after training only (and with Adam).
    """
    q = model.encode(**batch)
    if not isinstance(q, DiagonalGaussian):
        raise ValueError("--refine: only Gaussian posteriors can be refined")

    def negative_elbo(part: dict[str, Tensor], mu: Tensor, logvar: Tensor) -> Tensor:
        distortion, rate = bound_terms(model, part, DiagonalGaussian(mu, logvar), generator)
        return distortion + rate

    return DiagonalGaussian(*_descend(model, batch, [q.mu, q.logvar], negative_elbo, steps, POSTERIOR_STEP))


def bound_terms(
    model, batch: dict[str, Tensor], q: DiagonalGaussian, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Distortion and rate, (B,) each, under posteriors of a batch, with one sample."""
    z = q.rsample(1, generator)
    distortion = model.distortion(batch["input_ids"], batch["attention_mask"], z)[0]
    return distortion, kl(q, model.prior, q.log_prob(z), model.prior.log_prob(z))[0]


def _descend(
    model, batch: dict[str, Tensor], start: list[Tensor], loss: Callable[..., Tensor], steps: int, size: float
) -> list[Tensor]:
    """Tensors (B,D) after steps of Adam along the loss of their sentences; the weights of the model get no gradient."""
    found = []
    # Recurrent kernels of cuDNN give no gradient in evaluation mode.
    without_cudnn = torch.backends.cudnn.flags(enabled=False)
    with frozen(model.parameters()), torch.inference_mode(False), torch.enable_grad(), without_cudnn:
        for rows in torch.arange(len(start[0])).split(max(1, TOKENS_AT_ONCE // batch["input_ids"].shape[1])):
            part = {name: value[rows] for name, value in batch.items()}
            leaves = [tensor[rows].detach().clone().requires_grad_() for tensor in start]
            optimizer = torch.optim.Adam(leaves, size, eps=FLAT)
            for _ in range(steps):
                optimizer.zero_grad()
                loss(part, *leaves).sum().backward()
                optimizer.step()
            found.append([leaf.detach() for leaf in leaves])
    return [torch.cat(parts) for parts in zip(*found, strict=True)]
