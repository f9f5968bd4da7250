"""Numbers of a run after gradient steps for each text. Shapes: N texts, D latent dimensions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from textvae.data.batches import batch_of, length_sorted_batches
from textvae.data.collator import Collator
from textvae.data.encoding import text_lengths
from textvae.evaluation.likelihood import Bound, evaluating, importance_weighted_nll
from textvae.evaluation.report import counter, reconstruction
from textvae.evaluation.text import is_chinese
from textvae.hardware import autocast
from textvae.inference.refine import bound_terms, refined_posterior, refined_vectors
from textvae.inference.text_vae import TextVAE
from textvae.latent import DiagonalGaussian


def refined_metrics(
    vae: TextVAE,
    dataset,
    mu: Tensor,
    steps: int,
    samples: int,
    bf16: bool | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, Any]:
    """What `evaluate --refine STEPS` adds, as docs/metrics.md defines it.

    Args:
        vae: the model.
        dataset: rows with `ids`, `length` and `text`.
        mu: (N,D) means of the encoder's posteriors.
        steps: for each text.
        samples: k of the importance-weighted bound.
        bf16: precision of matrix products; None for what suits the machine.
        progress: called with a stage, texts done and texts in all.

    Returns:
        refine_steps, refined_reconstruction_bleu, refined_token_accuracy and refined_exact_match; for Gaussian
        posteriors also refined_nll, refined_rate, refined_iw_nll and refined_iw_nll_stderr.
    """
    n = len(dataset)
    z = refined_means(vae.model, dataset, mu, steps, bf16, counter(progress, "refined vectors", n))
    chinese = is_chinese(dataset["text"][:100])
    copies = reconstruction(vae, z, dataset, chinese, counter(progress, "refined reconstruction", n))
    found = {"refine_steps": steps}
    found |= {f"refined_{key}": value for key, value in copies.items() if key != "bleu_signature"}
    if vae.model.config.latent["posterior"]["kind"] != "gaussian":
        return found
    q = refined_posteriors(vae.model, dataset, steps, 2, bf16, counter(progress, "refined posteriors", n))
    bound = bound_under(vae.model, dataset, q, bf16=bf16)
    stage = counter(progress, f"refined iw_nll, {samples} samples", n)
    iw = importance_weighted_nll(vae.model, dataset, samples, 1, bf16, stage, posteriors=q)
    means = {"refined_nll": bound.nll, "refined_rate": bound.rate, "refined_iw_nll": iw}
    found |= {name: float(value.double().mean()) for name, value in means.items()}
    found["refined_iw_nll_stderr"] = float(iw.double().std() / math.sqrt(n)) if n > 1 else None
    return found


def refined_means(
    model,
    dataset,
    mu: Tensor,
    steps: int,
    bf16: bool | None = None,
    progress: Callable[[int], None] | None = None,
) -> Tensor:
    """Latent vectors (N,D) of a split after gradient steps from mu (N,D) that follow the distortion.

    Args:
        model: a TextVAEModel with a latent variable.
        dataset: rows with `ids` and `length`.
        mu: where to start.
        steps, bf16, progress: as for `refined_posteriors`.
    """
    collate, device, z = Collator.of(model.config), model.device, torch.empty_like(mu)
    for index in length_sorted_batches(text_lengths(dataset)):
        batch, rows = batch_of(dataset, index, collate, device), torch.from_numpy(index)
        with evaluating(model), autocast(device, bf16):
            z[rows] = refined_vectors(model, batch, mu[rows].to(device), steps).float().cpu()
        if progress:
            progress(len(index))
    return z


def refined_posteriors(
    model,
    dataset,
    steps: int,
    seed: int = 0,
    bf16: bool | None = None,
    progress: Callable[[int], None] | None = None,
) -> DiagonalGaussian:
    """q of every text after gradient steps on its own mu and logvar.

    They start at the encoder's and follow the negative ELBO at beta = 1, of one sample a step.

    Args:
        model: a TextVAEModel with Gaussian posteriors.
        dataset: rows with `ids` and `length`.
        steps: how many.
        seed: of the samples.
        bf16: precision of matrix products; None for what suits the machine.
        progress: called with the number of texts done.

    Returns:
        mu and logvar (N,D).

    Raises:
        ValueError: a plain language model, or another posterior.

    Source: Kim et al. 2018, arXiv 1802.02550, algorithm 1.
    """
    collate, device = Collator.of(model.config), model.device
    generator = torch.Generator(device).manual_seed(seed)
    mu, logvar = (torch.empty(len(dataset), model.config.latent_size, device=device) for _ in range(2))
    for index in length_sorted_batches(text_lengths(dataset)):
        batch, rows = batch_of(dataset, index, collate, device), torch.from_numpy(index)
        with evaluating(model), autocast(device, bf16):
            q = refined_posterior(model, batch, steps, generator)
        mu[rows], logvar[rows] = q.mu, q.logvar
        if progress:
            progress(len(index))
    return DiagonalGaussian(mu, logvar)


def bound_under(model, dataset, posteriors: DiagonalGaussian, seed: int = 0, bf16: bool | None = None) -> Bound:
    """The negative ELBO at beta = 1 of every text under given posteriors.

    Where these are refined, comparing with `evaluate_bound` shows how much of the bound is lost because one encoder
    serves all sentences (the amortisation gap).

    Args:
        model: a TextVAEModel with Gaussian posteriors.
        dataset: rows with `ids` and `length`.
        posteriors: mu and logvar (N,D).
        seed: of the samples, one a text.
        bf16: precision of matrix products; None for what suits the machine.

    Returns:
        Per-text distortion and rate.
    """
    collate, device, n = Collator.of(model.config), model.device, len(dataset)
    generator = torch.Generator(device).manual_seed(seed)
    distortion, rate = torch.zeros(n), torch.zeros(n)
    for index in length_sorted_batches(text_lengths(dataset)):
        batch, rows = batch_of(dataset, index, collate, device), torch.from_numpy(index)
        with evaluating(model), autocast(device, bf16):
            terms = bound_terms(model, batch, posteriors[rows], generator)
        distortion[rows], rate[rows] = (term.float().cpu() for term in terms)
    return Bound(distortion, rate)
