"""Training arguments: those of transformers, and a few that a VAE of text needs."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import torch
from transformers import TrainingArguments

from textvae.data.config import DataConfig
from textvae.encoders.pooling import Pooling
from textvae.hardware import has_bf16_on_cpu, has_fast_bf16
from textvae.layers.rotation import RotaryMemory
from textvae.layers.word_vectors import AnchoredEmbedding
from textvae.modeling import TextVAEModel
from textvae.objectives import Objective
from textvae.training.rates import pretrained_weights

logger = logging.getLogger(__name__)

# Arguments of transformers that have no part here, and what has.
NO_EFFECT = {
    "train_sampling_strategy": "textvae makes the batches: of like length, or at random where a whole batch counts",
    "per_device_eval_batch_size": "batches for evaluation are as large as fits in memory",
    "metric_for_best_model": "textvae chooses the best checkpoint itself (docs/metrics.md)",
    "greater_is_better": "textvae chooses the best checkpoint itself (docs/metrics.md)",
    "load_best_model_at_end": "a run always ends with its best weights",
    "resume_from_checkpoint": "use --resume",
    "label_smoothing_factor": "the loss is the objective's",
}


def about_a_batch(model: TextVAEModel, objective: Objective) -> str | None:
    """What computes something of a batch as a whole; None where nothing does."""
    if not model.config.latent_size:
        return None
    normalised = getattr(model.posterior, "gamma", None)
    return "model.latent.posterior.batch_norm" if normalised else "this objective" if objective.reads_batch else None


@dataclass
class TextVAETrainingArguments(TrainingArguments):
    """Any field of transformers.TrainingArguments, and:

    > Parameters that control the model

    Args:
        init_from: run whose weights training starts from; parts of another shape start anew and are named.
        ema_decay: decay of averaged weights, which are then the ones evaluated and saved; 0 turns averaging off.

    > Parameters that control the training

    Args:
        early_stopping_patience: evaluations without improvement, after the warm-up of beta, that end training;
            0 turns it off.
        log_reconstructions: validation texts whose reconstruction is logged at each evaluation.
        pretrained_learning_rate: of the weights that a pretrained part brings along, in place of learning_rate;
            low-rank additions and all that is new keep the latter. null for one rate.
        pretrained_weight_decay: pulls pretrained weights back to what they were when training, or its stage, began, in
            place of weight_decay, which pulls to zero; null for weight_decay. See textvae/training/rates.py.
        final_word_dropout: model.decoder.word_dropout falls to this in a straight line, from the beginning of training
            to its end; null leaves it as it is.
        tokens_per_batch: batches filled up to this many tokens, padding counted, in place of
            per_device_train_batch_size; the loss is then divided by the mean number of sentences in a batch. null
            turns it off.
        aggressive: before each update of the decoder, train the encoder alone until it no longer gains, as long as
            mutual information on validation rises from evaluation to evaluation; see textvae/training/aggressive.py.
        stages: trainings one after the other, each with `max_steps` and, where they are to differ, `objective`,
            `reset`, `learning_rate` and `predicts`; see textvae/training/stage.py. Used by `train`; a trainer runs
            one of them.

    Defaults that differ: max_steps 3000, per_device_train_batch_size 64, learning_rate 1e-3, cosine decay, gradients
    clipped at 5 (the loss is a sum over tokens), evaluation every tenth of training, and bf16 where the machine has
    matrix units for it (null asks for that choice).
    """

    init_from: str | None = None
    ema_decay: float = 0.0
    early_stopping_patience: int = 0
    log_reconstructions: int = 2
    pretrained_learning_rate: float | None = None
    pretrained_weight_decay: float | None = None
    final_word_dropout: float | None = None
    tokens_per_batch: int | None = None
    stages: list | None = None
    aggressive: bool = False

    max_steps: int = 3000
    per_device_train_batch_size: int = 64
    learning_rate: float = 1e-3
    lr_scheduler_type: str = "cosine"
    max_grad_norm: float = 5.0
    logging_steps: float = 50
    eval_strategy: str = "steps"
    eval_steps: float | None = 0.1
    save_strategy: str = "steps"
    save_steps: float = 0.1
    save_total_limit: int | None = 1
    metric_for_best_model: str | None = "nll"
    greater_is_better: bool | None = False
    bf16: bool | None = None
    logging_nan_inf_filter: bool = False
    remove_unused_columns: bool = False
    disable_tqdm: bool | None = True
    report_to: str | list[str] | None = field(default="none")

    def __post_init__(self):
        self.use_cpu = self.use_cpu or not torch.accelerator.is_available()
        if self.bf16 is None:
            self.bf16 = has_fast_bf16(self.use_cpu) and not self.fp16
        elif self.bf16 and self.use_cpu and not has_bf16_on_cpu():
            raise ValueError(
                "training.bf16: true is not for this processor, which is hundreds of times slower in bfloat16 than in "
                "float32, and cannot run an LSTM in it; leave it null"
            )
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"training.ema_decay: {self.ema_decay} is not in [0, 1)")
        super().__post_init__()

    @property
    def n_gpu(self) -> int:
        """Accelerators of this process: at most one, since DataParallel could not put posteriors together again."""
        return min(1, super().n_gpu)

    def check(self, model: TextVAEModel, objective: Objective) -> None:
        """Refuses what does not go with the model or the objective.

        Raises:
            ValueError: with the key and what to do.
        """
        if self.world_size > 1:  # each would draw the same noise for other texts, and write the run folder
            raise ValueError(f"training: {self.world_size} processes were started; start one, without torchrun")
        if self.aggressive and model.config.latent_size and not model.posterior.has_density:
            raise ValueError("training.aggressive: true needs a posterior with a density; this model's has none")
        if self.aggressive and model.config.latent_size and self.eval_strategy == "no":
            raise ValueError(
                "training.aggressive: true ends when mutual information on validation no longer rises, which "
                "training.eval_strategy: no never looks at; set it to steps"
            )
        if self.aggressive and model.config.latent_size and 0 < self.max_steps < (self.eval_steps or 0):
            raise ValueError(
                "training.aggressive: true ends when mutual information on validation no longer rises, which is never "
                f"looked at: training.eval_steps {self.eval_steps:g} is more than max_steps {self.max_steps}"
            )
        if self.early_stopping_patience and self.eval_strategy == "no":
            raise ValueError(
                "training.early_stopping_patience: no effect without evaluations; set training.eval_strategy to steps"
            )
        what = about_a_batch(model, objective)
        if what and self.train_batch_size == 1 and not self.tokens_per_batch:
            raise ValueError(
                f"training.per_device_train_batch_size: 1 is not allowed, since {what} is about a batch as a whole; "
                "the larger the batch the better (accumulated ones do not count together)"
            )
        if self.tokens_per_batch and self.aggressive:
            raise ValueError(
                "training.tokens_per_batch: not with training.aggressive; set per_device_train_batch_size instead"
            )
        if self.torch_compile and objective.hooks_z and model.config.latent_size:
            raise ValueError(
                "training.torch_compile: true is not allowed with this objective, which changes the gradient that "
                "passes through z, where compiled code hides it; leave it false"
            )
        if (optim := str(getattr(self.optim, "value", self.optim))).startswith("schedule_free"):
            raise ValueError(
                f"training.optim: {optim} keeps averages of the weights that nothing here would evaluate; take "
                "training.ema_decay with another optimizer"
            )
        first = model.decoder.config.word_dropout
        if self.final_word_dropout is not None and self.final_word_dropout >= first:
            raise ValueError(
                f"training.final_word_dropout: {self.final_word_dropout} is no less than model.decoder.word_dropout, "
                f"{first}, from which it falls"
            )
        if self.fp16 and any(parameter.requires_grad for parameter in objective.parameters()):
            raise ValueError("training.fp16: true is not allowed with an objective that is trained itself; use bf16")

    def tell(self, model: TextVAEModel, data: DataConfig, tokenizer, encoder_tokenizer=None) -> None:
        """Warns of settings that have no effect, or less than one may think."""
        waiting = getattr(model.decoder, "alone", None)  # for a later stage
        for key in ("pretrained_learning_rate", "pretrained_weight_decay"):
            if getattr(self, key) is not None and not (pretrained_weights(model) or waiting):
                logger.warning("training.%s: no effect, since no pretrained weight is trained", key)
        if not self.weight_decay and any(isinstance(module, AnchoredEmbedding) for module in model.modules()):
            logger.warning("model.decoder.anchor_embeddings: no effect without training.weight_decay")
        pools = any(isinstance(module, Pooling) and module.kind == "rotary" for module in model.modules())
        turns = any(isinstance(module, RotaryMemory) for module in model.modules())
        if pools != turns:
            both = ("model.encoder.pooling: rotary", "rotary in model.decoder.inject")
            logger.warning("%s is made for %s, which is not there", *(both if pools else reversed(both)))
        if pools and (data.noise.drop or data.noise.shuffle):
            logger.warning("model.encoder.pooling: rotary tells less where data.noise drops or moves words")
        pooling = getattr(getattr(model, "encoder", None), "pooling", None)
        other_tokens = encoder_tokenizer is not None and encoder_tokenizer.get_vocab() != tokenizer.get_vocab()
        if other_tokens and getattr(pooling, "kind", None) == "rotary":
            logger.warning("rotary pooling counts the tokens of the encoder, which are not those of the decoder")
