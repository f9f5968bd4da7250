"""Fits a prior to the latent vectors of a finished run."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Literal

import torch

from textvae.data.corpus import load_corpus
from textvae.evaluation.run import check_split, load_data_recipe
from textvae.inference.text_vae import TextVAE
from textvae.latent.fitted import fit_prior


def fit_run_prior(
    folder: str | Path,
    kind: Literal["mixture", "flow"] = "mixture",
    components: int = 50,
    seed: int = 0,
    overrides: list[str] | None = None,
) -> dict[str, Any]:
    """Fits a prior to the aggregated posterior of a run's training split and writes it into the run folder.

    Args:
        folder: the run folder.
        kind: mixture or flow.
        components: of the mixture.
        seed: of all that is random.
        overrides: `data.key=value`, where its corpus has moved.

    Returns:
        `kind`, `sentences`, `seconds`, and in nats a sentence the mean log-density of validation vectors under the
        fitted prior and under the model's own: `fitted_log_prob` and `prior_log_prob`.

    Raises:
        ValueError: no such run, its corpus is gone, or its latent vectors are not those of such a prior.
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
    splits = load_corpus(recipe.data).splits
    check_split(Path(folder), splits, "train", overrides or [])
    train, validation = (
        vae.encode(splits[name]["text"][:], sample=True, seed=seed) for name in ("train", "validation")
    )
    fitted = fit_prior(train, kind, components, seed)
    fitted.save(folder)
    with torch.no_grad():
        own = vae.model.prior.log_prob(validation.to(vae.model.device))
        return {
            "kind": kind,
            "sentences": len(train),
            "fitted_log_prob": float(fitted.log_prob(validation).double().mean()),
            "prior_log_prob": float(own.double().mean()),
            "seconds": round(time.time() - start, 2),
        }
