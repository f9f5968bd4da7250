"""What a recipe is trained with: its tokenizers and its model, with the weights that training begins from."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import torch
from datasets import DatasetDict
from safetensors.torch import load_file
from transformers import AutoTokenizer, GenerationConfig

from textvae.configuration import TextVAEConfig
from textvae.data.corpus import Corpus
from textvae.data.encoding import kept_tokenizer, text_lengths
from textvae.modeling import TextVAEModel
from textvae.recipe import Recipe
from textvae.tokenization import load_tokenizer
from textvae.validation import one_line

logger = logging.getLogger(__name__)


def build_tokenizer(recipe: Recipe, corpus: Corpus, resumed: Path | None):
    """Of the decoder: that of the run that is resumed or begun from, or a new one, made for the corpus."""
    source = resumed or recipe.training.get("init_from")
    if source:
        if not (Path(source) / "tokenizer.json").is_file():
            raise ValueError(f"training.init_from: {source} is not a run: it has no tokenizer.json")
        if not resumed:
            corpus.note(f"tokenizer and first weights come from {source}")
        return AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    where = "model.decoder.name" if "name" in recipe.model["decoder"] else "tokenizer.path"
    return kept_tokenizer(recipe.tokenizer, corpus.splits["train"], where)


def build_encoder_tokenizer(recipe: Recipe):
    """That of a pretrained encoder; None where the encoder reads the decoder's ids."""
    encoder = recipe.model["encoder"]
    if "name" not in encoder or not recipe.model["latent"]["size"]:
        return None
    return load_tokenizer(encoder["name"], encoder["revision"], "model.encoder.name")


def build_model(recipe: Recipe, tokenizer, encoder_tokenizer) -> TextVAEModel:
    """With the recipe's settings of generation; pretrained parts have no weights yet (`load_pretrained`).

    Args:
        recipe: of the run.
        tokenizer: of the decoder.
        encoder_tokenizer: of an encoder that does not read the decoder's ids.

    Raises:
        ValueError: what does not fit together, in one line.
    """
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("pad", "bos", "eos", "unk", "mask")}
    if encoder_tokenizer is not None:
        # Padding is masked, so any id will do where there is none for it.
        ids["encoder_pad_token_id"] = encoder_tokenizer.pad_token_id or 0
    config = TextVAEConfig(vocab_size=max(tokenizer.get_vocab().values()) + 1, **recipe.model, **ids)
    try:
        model = TextVAEModel(config)
    except (RuntimeError, MemoryError) as error:
        raise ValueError(f"model: cannot be made, it may be too large for this machine: {one_line(error)}") from None
    if encoder_tokenizer is not None:
        _check_ids(model, encoder_tokenizer)
    # transformers refuses to save what only sampling reads with a configuration that does not sample.
    unused = set() if recipe.generation.do_sample else {"temperature", "top_k", "top_p", "min_p"}
    values = recipe.generation.model_dump(exclude_none=True, exclude=unused)
    if unused:  # kept for those who ask for sampling (TextVAE.generation_config)
        values["sampling"] = recipe.generation.model_dump(exclude_none=True, include=unused)
    model.generation_config = GenerationConfig(**{**model.generation_config.to_diff_dict(), **values})
    return model


def _check_ids(model: TextVAEModel, encoder_tokenizer) -> None:
    """Refuses an encoder with fewer word vectors than its tokenizer has words; padding, which is masked, needs none."""
    known = model.encoder.vocabulary_size
    if model.config.encoder_pad_token_id >= known:
        model.config.encoder_pad_token_id = 0
    special = set(encoder_tokenizer.all_special_ids) - set(encoder_tokenizer("")["input_ids"])
    most = max(set(encoder_tokenizer.get_vocab().values()) - special)
    if most >= known:
        raise ValueError(
            f"model.encoder.name: its tokenizer has ids up to {most}, but the model only {known} word vectors"
        )


def init_from(model: TextVAEModel, run: Path) -> None:
    """Takes over weights of the same name and shape and says which parts start anew."""
    file = run / "model.safetensors"
    if not file.is_file():
        raise ValueError(f"training.init_from: {run} is not a finished run: it has no model.safetensors")
    own, given = model.state_dict(), load_file(file)
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    for side in ("encoder", "decoder"):
        theirs, ours = config[side].get("fingerprint"), getattr(model.config, side).get("fingerprint")
        if theirs and ours and theirs != ours:
            raise ValueError(
                f"training.init_from: {run} rests on other weights of its {side} than those of {config[side]['name']} "
                "now"
            )
    left_out = model.left_out
    for name in sorted(left_out & given.keys()):
        if not torch.equal(own[name], given[name]):
            part = name.split(".")[0]
            raise ValueError(
                f"model.{part}.save_base: false is not allowed with training.init_from: {run} has changed {name}, "
                "which would then be read from where it was pretrained"
            )
    fitting = {name: value for name, value in given.items() if name in own and own[name].shape == value.shape}
    if not fitting:
        raise ValueError(f"training.init_from: no part of {run} has the shape of this model")
    model.load_state_dict(fitting, strict=False)
    places = {own[name].data_ptr() for name in fitting}  # tied weights have several names
    fresh = sorted(name for name in own if own[name].data_ptr() not in places and name not in left_out)
    logger.info("%d of %d tensors come from %s", len(fitting), len(own), run)
    if fresh:
        more = f" and {len(fresh) - 8} more" if len(fresh) > 8 else ""  # of a pretrained model hundreds
        logger.warning("these parts are not taken from there: %s%s", ", ".join(fresh[:8]), more)


def load_pretrained(model: TextVAEModel) -> None:
    """Gives pretrained parts their weights."""
    for part in model.children():
        if hasattr(part, "load_weights"):
            part.load_weights()


def check_positions(model: TextVAEModel, splits: DatasetDict) -> None:
    """Refuses texts that are longer than a part can read."""
    for side, part in model.named_children():
        most = getattr(part, "max_tokens", None)
        for name, split in splits.items() if most else ():
            # A decoder does not read the end of the text, an encoder does.
            longest = int(text_lengths(split).max()) + (side == "encoder")
            if longest > most:
                raise ValueError(
                    f"model.{side}: it reads at most {most} tokens, and a {name} text has {longest}; leave such texts "
                    "out, or take one that reads more (of transformers written here: positions: rotary)"
                )
