"""What is wrong with a run, in plain words: whether the posterior collapsed, what z tells the decoder, and where.

Shapes: N texts, B texts of a batch, T tokens, D latent dimensions, n real tokens of a batch.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from textvae import registry
from textvae.data.batches import batch_of, length_sorted_batches
from textvae.data.collator import Collator
from textvae.data.corpus import load_corpus
from textvae.data.encoding import encode_texts, text_lengths, unknown_share
from textvae.evaluation.advice import (
    FIRST_WORDS,
    HEALTHY_SHARE,
    HOLES_SHARE,
    LEAST_RATE,
    advice,
    findings,
    has_little,
    last_objective,
)
from textvae.evaluation.latent import ACTIVE_VARIANCE, least_variance, mutual_information
from textvae.evaluation.likelihood import evaluate_bound, evaluating
from textvae.evaluation.report import name_of_prior
from textvae.evaluation.run import check_split, load_data_recipe, under
from textvae.hardware import autocast
from textvae.inference.text_vae import TextVAE
from textvae.latent.fitted import FittedPrior
from textvae.recipe import Recipe

# Texts and tokens that are looked at: enough for every number here to the digit that matters, and done in seconds.
MOST_TEXTS, MOST_TOKENS = 1000, 200_000
# The decoder ignores z when another text's z costs less than this many nats a text, or than this share of what z holds.
LEAST_GAIN, LEAST_GAIN_SHARE = 0.5, 0.1
# It hears little of z when that saves less than this share of the rate, where the objective makes rate cost something.
LEAST_HEARD_SHARE = 0.1
# Reconstruction comes only from the first words and the length when the other words have less than this share of the
# gain. In texts of which they are less than half, nothing is said about it.
LEAST_OTHER_GAIN, LEAST_OTHER_TOKENS = 0.1, 0.5
# An estimate of the mutual information above this share of log N says little but that N is small.
CAP_SHARE = 0.9
# Quantile of the nearest-neighbour distances that marks a place as empty, and texts below which nothing is said of it.
FAR_QUANTILE, LEAST_TEXTS_FOR_HOLES = 0.95, 40
# By which the random numbers of the examination differ from those of the posteriors' draws, which have the seed itself.
NOISE = 0x646F63
# Positions of which the gain is listed.
POSITIONS = 40


@dataclass
class Gain:
    """How many nats the right z saves against the z of another text, by what it tells.

    Each token's nll is that of going on or ending, and that of which word it is given that the text goes on; so the
    three parts add up to the gain exactly.

    Args:
        length: (N,) nats a text, on whether the text ends here.
        first_words: (N,) on the first FIRST_WORDS words.
        other_words: (N,) on the other words.
        other_share: share of the tokens that are other words.
        by_position: (P,) mean gain of the tokens at each position.

    Source: Bosc & Vincent 2020, arXiv 2004.07683, for the question: which words does z carry?
    """

    length: Tensor
    first_words: Tensor
    other_words: Tensor
    other_share: float
    by_position: Tensor

    @property
    def total(self) -> Tensor:
        """(N,) nats a text."""
        return self.length + self.first_words + self.other_words


def examine_run(
    folder: str | Path,
    overrides: list[str] | None = None,
    bf16: bool | None = None,
    prior: Literal["model", "fitted"] = "model",
) -> dict[str, Any]:
    """Examines a finished run on validation texts of its corpus.

    Args:
        folder: the run folder.
        overrides: `data.key=value`, where its corpus has moved or another one is to be looked at.
        bf16: precision of matrix products; None for what suits the machine.
        prior: p(z): the model's own, or the one that was fitted after training (`fit_run_prior`).

    Returns:
        As `examine`.

    Raises:
        ValueError: no such run or corpus, a plain language model, a single validation text, or nothing was fitted.
        ImportError: the fitted prior needs a package that is not installed.
    """
    recipe = load_data_recipe(Path(folder), overrides)
    vae = TextVAE.from_pretrained(folder)
    fitted = vae.wanted_prior(prior)
    splits = load_corpus(recipe.data).splits
    check_split(Path(folder), splits, "validation", overrides or [])
    return examine(vae, splits["validation"], recipe, bf16, prior=fitted)


def examine(
    vae: TextVAE, split, recipe: Recipe, bf16: bool | None = None, seed: int = 0, prior: FittedPrior | None = None
) -> dict[str, Any]:
    """Examines a model.

    Args:
        vae: the model.
        split: rows with `text`; MOST_TEXTS of them, evenly spread, are looked at, fewer where they are long.
        recipe: of the run, for what to change.
        bf16: precision of matrix products; None for what suits the machine.
        seed: of all that is random.
        prior: fitted after training, to stand in place of the model's own.

    Returns:
        The keys that docs/metrics.md lists under "textvae doctor".

    Raises:
        ValueError: a plain language model, or fewer than two texts.
    """
    start, n = time.time(), min(len(split), MOST_TEXTS)
    if not vae.latent_size:
        raise ValueError("this run is a plain language model (model.latent.size is 0): it has no posterior to examine")
    if n < 2:
        raise ValueError("the doctor needs at least 2 validation texts: z of one text is held against another's")
    dataset = encode_texts(split.select(_spread(len(split), n))["text"][:], vae.tokenizer, vae.encoder_tokenizer)
    if (tokens := int(text_lengths(dataset).sum())) > MOST_TOKENS:
        n = min(n, max(LEAST_TEXTS_FOR_HOLES, n * MOST_TOKENS // tokens))
        dataset = dataset.select(_spread(len(dataset), n))
    with under(vae.model, prior):
        of_prior = name_of_prior(vae.model)
        bound = evaluate_bound(vae.model, dataset, seed=seed, bf16=bf16)
        generator = torch.Generator().manual_seed(seed ^ NOISE)
        z = torch.empty(n, vae.latent_size)
        z[bound.order] = bound.z.cpu()
        gain = gain_from_z(vae.model, dataset, z, derangement(n, generator), bf16)
        far = distances_to_the_prior(vae.model, z, generator) if n >= LEAST_TEXTS_FOR_HOLES else (None, None)
    rates, variances = bound.rate_per_dimension, bound.mu.var(0)
    total, other = float(gain.total.mean()), float(gain.other_words.mean())
    # A deterministic posterior has no density: no rate, and no limit to what z may tell.
    has_density, cap = vae.model.posterior.has_density, math.log(n)
    information = mutual_information(bound.posteriors, bound.z) if has_density else math.inf
    ignores = total < max(LEAST_GAIN, LEAST_GAIN_SHARE * min(information, cap))
    weighs_rate = registry.build("objective", last_objective(recipe)[0]).selects_by == "nll" and has_density
    least = least_variance(vae.model.posterior.support, vae.latent_size)
    lives = not ignores or (has_density and information >= LEAST_RATE)
    # Where nothing sets the scale of z, it is held against its own; that of a collapsed posterior is noise.
    if lives and (vae.model.prior.learned or not weighs_rate):
        least = min(least, ACTIVE_VARIANCE * float(variances.mean()))
    is_active = variances > least
    active, mean_rate = int(is_active.sum()), float(bound.rate.mean()) if has_density else None
    rate = _number(mean_rate) if has_density else None
    found = {
        "sentences": n,
        "prior": of_prior,
        "unk_rate": unknown_share(dataset["ids"][:], vae.model.config.unk_token_id),
        "nll": _number(bound.nll.mean()) if has_density else None,
        "rate": rate,
        "mutual_information": _number(information),
        "mutual_information_cap": cap,
        "mutual_information_at_cap": information > CAP_SHARE * cap if has_density else None,
        "latent_size": vae.latent_size,
        "active_units": active,
        "collapsed_dimensions": (~is_active).nonzero()[:, 0].tolist(),
        "z_gain": _number(total),
        "z_gain_stderr": _number(gain.total.std() / math.sqrt(n)),
        "decoder_ignores_z": ignores,
        "decoder_hears_little": not ignores and rate >= LEAST_RATE and total < LEAST_HEARD_SHARE * rate
        if weighs_rate and rate is not None
        else None,
        # Where rate costs something, z may well cost more than it saves; where it does not, nothing bounds the bound.
        "rate_exceeds_gain": None
        if weighs_rate or not has_density
        else not ignores and not mean_rate <= max(LEAST_RATE, total),  # nor a number where posteriors are points
        "z_gain_length": _number(gain.length.mean()),
        "z_gain_first_words": _number(gain.first_words.mean()),
        "z_gain_other_words": _number(other),
        # In texts of a few words the first ones are most of the text, and this would mean nothing.
        "only_first_words_and_length": None
        if ignores or gain.other_share < LEAST_OTHER_TOKENS
        else other < LEAST_OTHER_GAIN * total,
        "prior_off_posterior": far[0],
        "posterior_off_prior": far[1],
        "prior_and_posterior_overlap": None if far[0] is None else max(far) < HOLES_SHARE,
        "rate_per_dimension": None if rates is None else [_number(rate) for rate in rates],
        "mu_variance_per_dimension": [_number(variance) for variance in variances],
        "z_gain_by_position": [_number(value) for value in gain.by_position],
    }
    verdict = "collapsed" if ignores or not active else "partial"
    tells = not (found["only_first_words_and_length"] or has_little(found) or found["decoder_hears_little"])
    if verdict == "partial" and active >= HEALTHY_SHARE * vae.latent_size and tells:
        verdict = "healthy"
    words = {"verdict": verdict, "findings": findings(found), "advice": advice(found, recipe)}
    return words | found | {"seconds": round(time.time() - start, 2)}


def _spread(size: int, n: int) -> np.ndarray:
    """(n,) rows of as many as there are, evenly spread."""
    return np.linspace(0, size - 1, n).round().astype(int)


def derangement(n: int, generator: torch.Generator) -> Tensor:
    """(n,) a random permutation that leaves nothing in its place: one cycle through everything."""
    order = torch.randperm(n, generator=generator)
    source = torch.empty_like(order)
    source[order] = order.roll(1)
    return source


def gain_from_z(model, dataset, z: Tensor, source: Tensor, bf16: bool | None = None) -> Gain:
    """nll of each text with the z of another, less that with its own.

    Args:
        model: a TextVAEModel.
        dataset: rows with `ids` and `length`.
        z: (N,D), a sample of each posterior.
        source: (N,) whose z each text gets instead.
        bf16: precision of matrix products; None for what suits the machine.
    """
    collate, parts = Collator.of(model.config), torch.zeros(3, len(dataset))
    width = int(text_lengths(dataset).max())
    sums, counts, other_tokens = torch.zeros(width), torch.zeros(width), 0
    for index in length_sorted_batches(text_lengths(dataset)):
        batch = batch_of(dataset, index, collate, model.device)
        right, wrong = (
            _end_and_word(model, batch, part[torch.from_numpy(index)].to(model.device), bf16) for part in (z, z[source])
        )
        text, position = right[2].nonzero(as_tuple=True)
        text, position = torch.from_numpy(index)[text.cpu()], position.cpu()
        end, word = (wrong[0] - right[0]).cpu(), (wrong[1] - right[1]).cpu()
        first = position < FIRST_WORDS
        parts[0].index_add_(0, text, end)
        parts[1].index_add_(0, text, word * first)
        parts[2].index_add_(0, text, word * ~first)
        sums.index_add_(0, position, end + word)
        counts.index_add_(0, position, torch.ones_like(end))
        other_tokens += int((~first).sum()) - int((batch["attention_mask"].sum(1) - 1 > FIRST_WORDS).sum())  # eos
    return Gain(*parts, other_tokens / float(counts.sum()), (sums / counts)[:POSITIONS])


def _end_and_word(model, batch: dict[str, Tensor], z: Tensor, bf16: bool | None) -> tuple[Tensor, Tensor, Tensor]:
    """Each token's nll in two parts, (n,) whether the text ends and (n,) which word; and (B,T) the real tokens."""
    ids, real = batch["input_ids"], batch["attention_mask"][:, 1:].bool()
    targets, eos = ids[:, 1:][real], model.config.eos_token_id
    decoder = model.decoder
    with evaluating(model), autocast(model.device, bf16):
        features = decoder(ids[:, :-1], z).features[real]
        nll = decoder.nll(features, targets)
        end = decoder.nll(features, torch.full_like(targets, eos))  # of the same logits: never below 0
    # -log(1 - p(eos)); whatever rounding does to it, the two parts add up to the token's nll.
    go_on = -torch.log(-torch.expm1(-end.clamp_min(1e-6)))
    ends = torch.where(targets == eos, nll, go_on)
    return ends, nll - ends, real


def distances_to_the_prior(model, z: Tensor, generator: torch.Generator) -> tuple[float, float]:
    """How well the aggregated posterior q(z) and the prior p(z) overlap, by distances to nearest neighbours.

    Half of the texts' z stand for q, the other half show how far apart samples of q lie; the same with two samples of
    the prior. Where q and p are the same both numbers are 1 - FAR_QUANTILE = 0.05, up to the error of N/2 samples.

    Args:
        model: a TextVAEModel, for its prior.
        z: (N,D), a sample of each posterior.
        generator: of the prior's samples and of the halves.

    Returns:
        The share of prior samples that are farther from all of q than 95% of q's own held-out samples are: holes,
        where the prior samples and no text lies. And the same the other way round: texts where the prior never samples.

    Source: the two directions are those of Kynkäänniemi et al. 2019, arXiv 1904.06991, section 3 (precision and
    recall); with one threshold for all samples, since a ball around each needs many more of them.
    """
    half = len(z) // 2
    q, held_out = z[torch.randperm(len(z), generator=generator)][: 2 * half].split(half)
    p, other = model.sample_prior(2 * half, generator).cpu().split(half)
    return _share_farther(p, held_out, q), _share_farther(held_out, other, p)


def _share_farther(samples: Tensor, own: Tensor, reference: Tensor) -> float:
    """Share of the samples farther from the reference than FAR_QUANTILE of its own kind are."""
    near, far = (torch.cdist(points, reference).min(1).values for points in (own, samples))
    return float((far > near.quantile(FAR_QUANTILE)).float().mean())


def _number(value) -> float | None:
    """A number for JSON; None for what is undefined."""
    value = float(value.detach() if isinstance(value, Tensor) else value)
    return value if math.isfinite(value) else None
