"""The model card of a run: what it is, how it was made, what it measures."""

from __future__ import annotations

import json
from typing import Any

from textvae.data.corpus import Corpus
from textvae.inference.text_vae import HERE, TextVAE
from textvae.recipe import Recipe
from textvae.weights import is_on_hub

_ROWS = (
    ("nll", "nats per sentence, bound at beta = 1"),
    ("iw_nll", "nats per sentence, importance-weighted"),
    ("rate", "nats per sentence"),
    ("distortion", "nats per sentence"),
    ("ppl", "per token, EOS counted"),
    ("bits_per_byte", ""),
    ("mutual_information", "nats"),
    ("active_units", "dimensions"),
    ("reconstruction_bleu", "0-100, greedy from mu"),
    ("exact_match", "share of texts"),
    ("self_bleu", "0-100, of prior samples"),
)


def model_card(recipe: Recipe, metrics: dict[str, Any], corpus: Corpus, vae: TextVAE, seconds: float) -> str:
    """The card as Markdown with the metadata block of the Hugging Face Hub.

    Args:
        recipe: the resolved recipe.
        metrics: of the best checkpoint.
        corpus: for its counts and notices.
        vae: for samples.
        seconds: of training.
    """
    model = recipe.model
    kind = f"{model['encoder']['kind']} encoder, {model['decoder']['kind']} decoder"
    if not vae.latent_size:
        kind = f"{model['decoder']['kind']} language model"
    rows = [f"| {name} | {metrics[name]:.4g} | {unit} |" for name, unit in _ROWS if metrics.get(name) is not None]
    samples = [f"- {' / '.join(text.splitlines())}" for text in vae.sample(8, seed=0)]
    parts = [vae.model.config.encoder, vae.model.config.decoder] if vae.latent_size else [vae.model.config.decoder]
    bases = dict.fromkeys(part["name"] for part in parts if "name" in part and is_on_hub(part["name"]))
    left = [getattr(vae.model.config, part) for part in vae.model.base_weights()]
    elsewhere = [
        f"Not in this folder, but read from there again: weights of `{part['name']}`"
        + (f" (revision {part['revision']})." if part["revision"] else ".")
        for part in left
    ]
    sizes = ", ".join(f"{len(split)} {name}" for name, split in corpus.splits.items())
    use = 'vae.interpolate("first text", "second text", steps=7)' if vae.latent_size else "vae.sample(8, seed=0)"
    return "\n".join(
        [
            "---",
            "library_name: textvae",
            "pipeline_tag: text-generation",
            "tags: [textvae, variational-autoencoder]",
            *([f"base_model: {json.dumps([*bases])}"] if bases else []),
            "---",
            "",
            f"# {recipe.output_dir.resolve().name}",
            "",
            f"A variational autoencoder of text ({kind}, {vae.latent_size} latent dimensions), trained with textvae on "
            f"`{recipe.data.source}` ({sizes} texts)"
            if vae.latent_size
            else f"A {kind}, trained with textvae on `{recipe.data.source}` ({sizes} texts)",
            f"in {seconds / 60:.1f} minutes.",
            "",
            f"## Measured on {metrics['split']}",
            "",
            "| number | value | unit |",
            "|---|---|---|",
            *rows,
            "",
            "## Samples from the prior, unselected",
            "",
            *samples,
            "",
            "## Use",
            "",
            "```python",
            "from textvae import TextVAE",
            "",
            f'vae = TextVAE.from_pretrained("{HERE}")',
            "vae.sample(8, seed=0)",
            *([use] if vae.latent_size else []),
            "```",
            "",
            *(line for text in elsewhere for line in (text, "")),
            "## Recipe",
            "",
            "```yaml",
            recipe.to_yaml(for_others=True).rstrip(),
            "```",
            "",
        ]
    )
