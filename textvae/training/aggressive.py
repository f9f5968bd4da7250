"""Aggressive training of an encoder that lags behind its decoder.

Before each update of the decoder the encoder is trained alone, on other batches, until it gains nothing more. This ends
for good at the first evaluation at which the mutual information on validation no longer rises.

Source: He et al. 2019, arXiv 1901.05534, algorithm 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, islice, pairwise

from torch import nn

from textvae.freezing import frozen

# As in the authors' code: at most so many updates of the encoder, and a look at its loss every so often.
MOST, LOOK_EVERY = 100, 15
# Epochs of the sampler from which the encoder's own batches come: MOST of them for each update of the decoder.
FIRST_EPOCH = 1_000_000
METRIC = "eval_mutual_information"


def is_aggressive(history: list[dict]) -> bool:
    """Whether mutual information has risen at every evaluation so far.

    Args:
        history: the trainer's, which a checkpoint holds: nothing else has to be kept for resuming.
    """
    values = [row[METRIC] for row in history if METRIC in row]
    return all(later > earlier for earlier, later in pairwise(values))


def sides(model) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The parameters of encoder and posterior, and all others (word vectors that both read are the decoder's)."""
    inner, outer = [], []
    for name, weight in model.named_parameters():
        (inner if name.split(".")[0] in ("encoder", "posterior") else outer).append(weight)
    return inner, outer


def forget(parameters: list[nn.Parameter]) -> None:
    """Leaves parameters without gradients, so that an optimizer passes them over."""
    for weight in parameters:
        weight.grad = None


def inner_batches(trainer) -> Iterator[list[dict]]:
    """Rows of batches for the encoder before this update, without end; the same in a resumed training."""
    sampler, size = trainer._get_train_sampler(), trainer.args.train_batch_size
    for epoch in count(FIRST_EPOCH + MOST * trainer.state.global_step):
        sampler.set_epoch(epoch)
        numbers = iter(sampler)
        for _ in range(max(1, len(sampler) // size)):
            yield trainer.train_dataset.__getitems__(list(islice(numbers, size)))


def train_encoder(trainer) -> int:
    """Updates the encoder alone until its loss a token, over LOOK_EVERY updates, is no better than before.

    Args:
        trainer: a TextVAETrainer about to make an update.

    Returns:
        Updates made.
    """
    trainer.model.train()  # an evaluation may have come before
    inner, outer = sides(trainer.accelerator.unwrap_model(trainer.model))
    loss_sum, tokens, before, updates = 0.0, 0, float("inf"), 0
    trainer.accelerator.gradient_state._set_sync_gradients(True)
    with frozen([*outer, *trainer.objective.parameters()]):
        for rows in islice(inner_batches(trainer), MOST):
            batch = trainer._prepare_inputs(trainer.data_collator(rows))
            with trainer.compute_loss_context_manager():
                output = trainer.model_wrapped(**batch, num_samples=trainer.objective.num_samples)
                loss = trainer.objective(output, trainer.progress).loss
            trainer.accelerator.backward(loss)
            trainer.accelerator.clip_grad_norm_(inner, trainer.args.max_grad_norm or float("inf"))
            trainer.optimizer.step()
            trainer.optimizer.zero_grad()
            updates += 1
            loss_sum += float(loss.detach()) * len(rows)
            tokens += int(batch["attention_mask"][:, 1:].sum())
            if updates % LOOK_EVERY == 0:
                if loss_sum / tokens >= before:
                    break
                before, loss_sum, tokens = loss_sum / tokens, 0.0, 0
    return updates
