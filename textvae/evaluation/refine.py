"""Posteriors refined for each sentence by gradient steps. Shapes: N texts."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from textvae.data.collator import Collator
from textvae.data.encoding import text_lengths
from textvae.evaluation.likelihood import Bound, batch_of, evaluating, length_sorted_batches
from textvae.hardware import autocast
from textvae.latent import DiagonalGaussian, kl

LEARNING_RATE = 0.05


def refined_bound(
    model,
    dataset,
    steps: int,
    seed: int = 0,
    bf16: bool | None = None,
    progress: Callable[[int], None] | None = None,
) -> Bound:
    """The negative ELBO at beta = 1 of every text, after gradient steps on its own posterior.

    mu and logvar start at the encoder's and follow the negative ELBO of one sample a step. What is returned is taken
    at a sample that no step has seen. Comparing with `evaluate_bound` shows how much of the bound is lost because one
    encoder serves all sentences (the amortisation gap).

    Args:
        model: a TextVAEModel with Gaussian posteriors.
        dataset: rows with `ids` and `length`.
        steps: of Adam at 0.05, which treats each number alone: texts share no step, only noise.
        seed: of the samples.
        bf16: precision of matrix products; None for what suits the machine.
        progress: called with the number of texts done.

    Returns:
        Per-text distortion and rate.

    Raises:
        ValueError: a plain language model, or another posterior.

    Source: Kim et al. 2018, arXiv 1802.02550, algorithm 1, at evaluation only (and with Adam).
    """
    collate, device, n = Collator.of(model.config), model.device, len(dataset)
    generator = torch.Generator(device).manual_seed(seed)
    distortion, rate = torch.zeros(n), torch.zeros(n)
    for index in length_sorted_batches(text_lengths(dataset)):
        batch, rows = batch_of(dataset, index, collate, device), torch.from_numpy(index)
        # Recurrent kernels of cuDNN give no gradient in evaluation mode.
        with evaluating(model), autocast(device, bf16), torch.backends.cudnn.flags(enabled=False):
            q = model.encode(**batch)
            if not isinstance(q, DiagonalGaussian):
                raise ValueError("--refine: only Gaussian posteriors can be refined")

            def terms(q: DiagonalGaussian) -> tuple[Tensor, Tensor]:
                z = q.rsample(1, generator)
                nll = model.distortion(batch["input_ids"], batch["attention_mask"], z)[0]  # noqa: B023
                return nll, kl(q, model.prior, q.log_prob(z), model.prior.log_prob(z))[0]

            leaves = [q.mu.clone().requires_grad_(), q.logvar.clone().requires_grad_()]
            optimizer = torch.optim.Adam(leaves, LEARNING_RATE)
            for _ in range(steps):
                with torch.enable_grad():
                    loss = sum(term.sum() for term in terms(DiagonalGaussian(*leaves)))
                    for leaf, gradient in zip(leaves, torch.autograd.grad(loss, leaves), strict=True):
                        leaf.grad = gradient
                optimizer.step()
            refined = terms(DiagonalGaussian(*leaves))
        distortion[rows], rate[rows] = (term.float().cpu() for term in refined)
        if progress:
            progress(len(index))
    return Bound(distortion, rate)
