"""Fits a prior to the latent vectors of a finished run."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from textvae.data.corpus import fingerprint, load_corpus
from textvae.data.encoding import training_texts
from textvae.evaluation.run import fingerprints_of, load_data_recipe
from textvae.inference.text_vae import TextVAE
from textvae.latent.fitted import fit_prior, prior_to_fit

logger = logging.getLogger(__name__)

# The draws of a split have noise of their own: with that of the training vectors, to which the prior is fitted, vectors
# of other texts would be likelier than they are.
NOISE = {"train": 0x7261696E, "validation": 0x76616C69}
# More vectors than these are thinned out: the fit gains little from them.
MOST_VECTORS = 100_000
AT_ONCE = 1000  # vectors whose densities are taken together, since a mixture makes K of each


def fit_run_prior(
    folder: str | Path,
    kind: Literal["mixture", "flow"] = "mixture",
    components: int | None = None,
    seed: int = 0,
    overrides: list[str] | None = None,
) -> dict[str, Any]:
    """Fits a prior to the aggregated posterior of a run's training split and writes it into the run folder.

    Args:
        folder: the run folder.
        kind: mixture or flow.
        components: of the mixture; 50 when None, or one for 20 texts where that is less.
        seed: of all that is random.
        overrides: `data.key=value`, where its corpus has moved.

    Returns:
        `kind` of the prior and its keys, `sentences` that it is fitted to, `seconds`, and in nats a sentence the mean
        log-density of validation vectors under the fitted prior and under the model's own: `fitted_log_prob` and
        `prior_log_prob`.

    Raises:
        ValueError: no such run, its corpus is gone or another, its latent vectors are not those of such a prior, or
            kind or components are not allowed.
        ImportError: a flow, and zuko is not installed.
    """
    start = time.time()
    recipe = load_data_recipe(Path(folder), overrides)
    vae = TextVAE.from_pretrained(folder)
    if not vae.latent_size:
        raise ValueError(f"{folder} is a plain language model: it has no latent vectors")
    if vae.on_sphere:
        raise ValueError(
            f"{folder}: its latent vectors lie on the unit sphere, where neither a mixture of Gaussians nor a flow has "
            "a density; train it with model.latent.prior=vamp"
        )
    corpus = load_corpus(recipe.data)
    splits = corpus.splits
    known = fingerprints_of(Path(folder)).get("train")
    if known and known != fingerprint(splits["train"]):
        raise ValueError(
            f"{folder}: its training texts are not those of when it was trained, to which a prior is fitted; put them "
            "back, or name the place to which they have moved (data.source=MOVED)"
        )
    prior_to_fit(min(len(splits["train"]), MOST_VECTORS), kind, components)  # a mistake is told at once
    train, z = training_texts(corpus, vae.tokenizer, recipe.data.max_length, recipe.data.overlong), {}
    for name, texts in (("train", train), ("validation", splits["validation"])):
        if len(texts) > MOST_VECTORS:
            rows = torch.randperm(len(texts), generator=torch.Generator().manual_seed(seed))[:MOST_VECTORS]
            texts = texts.select(rows.tolist())
        z[name] = vae.encode(texts["text"][:], sample=True, seed=seed ^ NOISE[name])
    fitted = fit_prior(z["train"], kind, components, seed)
    for stale in Path(folder).glob("metrics-*-fitted-prior.json"):  # of the one before
        stale.unlink(missing_ok=True)
    fitted.save(folder)
    found = _mean_log_prob(fitted, z["validation"])
    own = _mean_log_prob(vae.model.prior, z["validation"].to(vae.model.device))
    if found < own:
        logger.warning("vectors of validation texts are less likely under it than under the model's own prior")
    return {
        **fitted.config,
        "sentences": len(z["train"]),
        "fitted_log_prob": found,
        "prior_log_prob": own,
        "seconds": round(time.time() - start, 2),
    }


@torch.no_grad()
def _mean_log_prob(prior, z: Tensor) -> float:
    return float(torch.cat([prior.log_prob(part) for part in z.split(AT_ONCE)]).double().mean())
