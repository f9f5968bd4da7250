"""A small language model that measures samples: forward and reverse perplexity.

Shapes: N texts.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import torch

from textvae.configuration import TextVAEConfig
from textvae.data.batches import batch_of
from textvae.data.collator import Collator
from textvae.data.encoding import encode_texts, text_lengths
from textvae.data.sampler import LengthGroupedSampler
from textvae.evaluation.likelihood import evaluate_bound
from textvae.hardware import autocast
from textvae.inference.text_vae import TextVAE, seeded
from textvae.modeling import TextVAEModel

# The model and its budget: the same for real texts and for samples, and small enough for two processor cores.
DECODER = {"kind": "recurrent", "cell": "gru", "embedding_size": 128, "hidden_size": 256, "dropout": 0.3}
BATCH, LEARNING_RATE, MOST_GRADIENT = 64, 3e-3, 5.0
# Texts that each of the two language models learns from, at most; of these a share is held out to choose the weights.
MOST_TEXTS, HELD_OUT, LOOKS = 50_000, 0.05, 10


def perplexities(
    vae: TextVAE,
    train_texts: list[str],
    dataset,
    steps: int,
    seed: int = 0,
    bf16: bool | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> tuple[dict[str, Any], TextVAE]:
    """Forward and reverse perplexity of samples from the prior.

    Args:
        vae: the model that samples, decoding as its run says, the unknown word allowed since real texts hold it.
        train_texts: of its run.
        dataset: the split, rows with `ids` and `length`.
        steps: budget of each language model, updates of 64 texts.
        seed: of samples and of training.
        bf16: precision of matrix products; None for what suits the machine.
        progress: called with a stage, steps done and steps in all.

    Returns:
        forward_ppl: of the samples under a language model of the training texts; low for what is fluent, also if it is
        always the same. reverse_ppl: of the split under a language model of as many samples; low only for samples that
        are fluent and varied. real_ppl: of the split under the language model of the training texts, which
        reverse_ppl would reach with perfect samples. lm_steps, lm_texts: the budget. And the language model of the
        training texts.

    Source: Zhao et al. 2018, arXiv 1706.04223 (reverse perplexity); Cífka et al. 2018, arXiv 1804.07972 (both).
    """
    generator = torch.Generator().manual_seed(seed)
    count = min(len(train_texts), MOST_TEXTS)
    chosen = torch.randperm(len(train_texts), generator=generator)[:count].tolist()
    real = encode_texts([train_texts[row] for row in chosen], vae.tokenizer)
    samples = encode_texts(vae.sample(count, seed=seed, allow_unknown=True), vae.tokenizer)

    def learnt(texts, name: str) -> TextVAEModel:
        report = progress and (lambda done: progress(f"language model of {name}", done, steps))
        return train_language_model(texts, vae.model.config, steps, seed, bf16, report)

    of_real, of_samples = learnt(real, "training texts"), learnt(samples, "samples")
    metrics = {
        "forward_ppl": ppl(of_real, samples, bf16),
        "reverse_ppl": ppl(of_samples, dataset, bf16),
        "real_ppl": ppl(of_real, dataset, bf16),
        "lm_steps": steps,
        "lm_texts": count,
    }
    return metrics, TextVAE(of_real, vae.tokenizer)


def train_language_model(
    dataset,
    config: TextVAEConfig,
    steps: int,
    seed: int = 0,
    bf16: bool | None = None,
    progress: Callable[[int], None] | None = None,
) -> TextVAEModel:
    """A TextVAEModel without a latent variable, trained with Adam and a linear decay.

    Args:
        dataset: rows with `ids` and `length`; a twentieth, at least one row, is held out, and the weights that predict
            it best, looked at ten times, are returned.
        config: whose vocabulary and special ids it has.
        steps: updates of BATCH texts.
        seed: of the weights, the order and the held-out rows; the global generators are left as they were.
        bf16: precision of matrix products; None for what suits the machine.
        progress: called with the steps done.

    Raises:
        ValueError: fewer than two texts.
    """
    if len(dataset) < 2:
        raise ValueError(f"a language model learns from at least 2 texts; there are {len(dataset)}")
    order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(seed)).tolist()
    held = max(1, round(HELD_OUT * len(dataset)))
    held_out, train = dataset.select(order[:held]), dataset.select(order[held:])
    # It has no encoder, and so none with ids of its own.
    names = [name for name in config.to_dict() if name.endswith("_token_id") and name != "encoder_pad_token_id"]
    special = {name: getattr(config, name) for name in names}
    with seeded(seed):
        device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
        model = TextVAEModel(
            TextVAEConfig(vocab_size=config.vocab_size, latent={"size": 0}, decoder=DECODER, **special)
        ).to(device)
        optimizer = torch.optim.Adam(model.parameters(), LEARNING_RATE)
        collate, best, weights = Collator(config.pad_token_id), math.inf, None
        sampler = LengthGroupedSampler(train["length"][:], BATCH, seed)
        rows: list[int] = []
        for step in range(1, steps + 1):
            if not rows:
                rows = list(sampler)
                sampler.set_epoch(sampler.epoch + 1)
            index, rows = torch.tensor(rows[:BATCH]).numpy(), rows[BATCH:]
            for group in optimizer.param_groups:
                group["lr"] = LEARNING_RATE * (1 - (step - 1) / steps)
            model.train()
            with autocast(device, bf16):
                loss = model(**batch_of(train, index, collate, device)).distortion.mean()
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), MOST_GRADIENT)
            optimizer.step()
            if step % max(1, steps // LOOKS) == 0 or step == steps:
                nll = float(evaluate_bound(model, held_out, bf16=bf16).nll.mean())
                if nll < best:
                    best, weights = nll, copy.deepcopy(model.state_dict())
            if progress:
                progress(step)
    if weights is None:
        raise ValueError("the language model has diverged: its nll is not a number")
    model.load_state_dict(weights)
    return model.eval()


def ppl(model: TextVAEModel, dataset, bf16: bool | None = None) -> float | None:
    """exp(total nats / total predicted tokens); None beyond what a float holds."""
    nll = evaluate_bound(model, dataset, bf16=bf16).nll.double().sum() / int(text_lengths(dataset).sum())
    return math.exp(nll) if nll < 700 else None
