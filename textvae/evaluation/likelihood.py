"""Bounds on the likelihood of a split, whole texts, in nats.

Shapes: N texts of the split, S samples, B sentences of a batch, D latent dimensions.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from textvae.data import batches
from textvae.data.batches import batch_of, length_sorted_batches
from textvae.data.collator import Collator
from textvae.data.encoding import text_lengths
from textvae.hardware import autocast
from textvae.latent import DiagonalGaussian


@dataclass
class Bound:
    """The evidence lower bound of each text of a split, beta = 1, and what is needed to derive other numbers.

    Args:
        distortion: (N,) -log p(x|z), mean over the samples of z.
        rate: (N,) KL(q||p); zeros in a plain language model, None where the posterior has no density.
        mu: (N,D) posterior means; None in a plain language model.
        posteriors: q of each batch, in the order of `order`.
        z: (N,D) one sample of each posterior, in the order of `order`.
        order: (N,) index in the split of each row of `posteriors` and `z`.
        rate_per_dimension: (D,) mean over the split, or None where the rate does not factorise.
    """

    distortion: Tensor
    rate: Tensor | None
    mu: Tensor | None = None
    posteriors: list | None = None
    z: Tensor | None = None
    order: Tensor | None = None
    rate_per_dimension: Tensor | None = None

    @property
    def nll(self) -> Tensor | None:
        """(N,) distortion + rate, the negative ELBO; None where there is no rate."""
        return None if self.rate is None else self.distortion + self.rate


@contextlib.contextmanager
def evaluating(model) -> Iterator[None]:
    """Evaluation mode without gradients, and the mode of before afterwards."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)


def evaluate_bound(
    model,
    dataset,
    num_samples: int = 1,
    seed: int = 0,
    bf16: bool | None = None,
    progress: Callable[[int], None] | None = None,
) -> Bound:
    """The negative ELBO at beta = 1 of every text.

    Args:
        model: a TextVAEModel.
        dataset: rows with `ids` and `length`.
        num_samples: samples of z over which distortion is averaged.
        seed: of those samples.
        bf16: precision of matrix products; None for what suits the machine.
        progress: called with the number of texts done.

    Returns:
        Per-text distortion and rate, and the posteriors.
    """
    collate, device, n = Collator.of(model.config), model.device, len(dataset)
    generator = torch.Generator(device).manual_seed(seed)
    distortion, rates, outputs, means, order, dimensions = torch.zeros(n), [], [], [], [], []
    for index in length_sorted_batches(text_lengths(dataset), num_samples):
        with evaluating(model), autocast(device, bf16):
            output = model(**batch_of(dataset, index, collate, device), num_samples=num_samples, generator=generator)
            if output.q is not None:
                means.append(output.q.mean.cpu())  # of a posterior with a flow, where the flow takes its noise's mean
        rows = torch.from_numpy(index)
        distortion[rows] = output.distortion.mean(0).cpu()
        if output.rate is not None:
            rates.append(output.rate.cpu())
        outputs.append(output)
        order.append(rows)
        if output.rate_per_dimension is not None:
            dimensions.append(output.rate_per_dimension.sum(0).cpu())
        if progress:
            progress(len(index))
    order, rate = torch.cat(order), None
    if rates:
        rate = torch.empty(n)
        rate[order] = torch.cat(rates)
    if not model.config.latent_size:
        return Bound(distortion, rate)
    mu = torch.empty(n, model.config.latent_size)
    mu[order] = torch.cat(means)
    return Bound(
        distortion,
        rate,
        mu,
        [output.q for output in outputs],
        torch.cat([output.z[0] for output in outputs]),
        order,
        torch.stack(dimensions).sum(0) / n if dimensions else None,
    )


def log_importance_weights(
    model,
    dataset,
    num_samples: int = 500,
    seed: int = 0,
    bf16: bool | None = None,
    progress: Callable[[int], None] | None = None,
    posteriors: DiagonalGaussian | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """log p(x|z_i) p(z_i) / q(z_i|x) with z_i from q, batch by batch.

    Args:
        model: a TextVAEModel with a latent variable.
        dataset: rows with `ids` and `length`.
        num_samples: k; the samples of a text are taken in turns that fit in memory, its encoder runs once.
        seed: of the samples.
        bf16: precision of matrix products; None for what suits the machine.
        progress: called with the number of texts done.
        posteriors: (N,D), q of each text in place of the encoder's. The bound holds for any, and is the tighter the
            nearer they are to the true ones.

    Yields:
        (B,) index in the split and (k,B) log weights in nats.
    """
    collate, device = Collator.of(model.config), model.device
    generator = torch.Generator(device).manual_seed(seed)
    for index in length_sorted_batches(text_lengths(dataset), min(num_samples, 50)):
        batch = batch_of(dataset, index, collate, device)
        ids, mask = batch["input_ids"], batch["attention_mask"]
        at_once = max(1, batches.TOKENS_AT_ONCE // ids.numel())
        with evaluating(model), autocast(device, bf16):
            q = model.encode(**batch) if posteriors is None else posteriors[torch.from_numpy(index)]
            parts = []
            for start in range(0, num_samples, at_once):
                z = q.rsample(min(at_once, num_samples - start), generator)
                parts.append(model.prior.log_prob(z) - q.log_prob(z) - model.distortion(ids, mask, z))
        yield torch.from_numpy(index), torch.cat(parts).cpu()
        if progress:
            progress(len(index))


def importance_weighted_nll(
    model,
    dataset,
    num_samples: int | Sequence[int] = 500,
    seed: int = 0,
    bf16: bool | None = None,
    progress: Callable[[int], None] | None = None,
    posteriors: DiagonalGaussian | None = None,
) -> Tensor:
    """-log 1/k sum_i p(x|z_i) p(z_i) / q(z_i|x) with z_i from q: a bound that tightens as k grows.

    Args:
        model: a TextVAEModel.
        dataset: rows with `ids` and `length`.
        num_samples: k, or several: the smaller ones then take the first samples of the largest.
        seed, bf16, progress, posteriors: as for `log_importance_weights`.

    Returns:
        (N,) in nats, or (number of k, N). k = 1 is a one-sample estimate of the negative ELBO. For a plain language
        model the exact negative log-likelihood.

    Raises:
        ValueError: the posterior has no density.

    Source: Burda et al. 2016, arXiv 1509.00519, equation 8.
    """
    counts = torch.tensor([num_samples] if isinstance(num_samples, int) else list(num_samples))
    if model.config.latent_size:
        if not model.posterior.has_density:
            kind = model.config.latent["posterior"]["kind"]
            raise ValueError(f"a {kind} posterior has no density: there is no bound on the likelihood")
        nll = torch.zeros(len(counts), len(dataset))
        for index, weights in log_importance_weights(
            model, dataset, int(counts.max()), seed, bf16, progress, posteriors
        ):
            nll[:, index] = (counts.log()[:, None] - weights.double().logcumsumexp(0)[counts - 1]).float()
    else:
        nll = evaluate_bound(model, dataset, 1, seed, bf16, progress).distortion.expand(len(counts), -1)
    return nll[0] if isinstance(num_samples, int) else nll
