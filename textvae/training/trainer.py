"""TextVAETrainer: transformers.Trainer with an objective instead of a loss, and honest model selection.

Shapes: S latent samples, B sentences, D latent dimensions.
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import DataLoader
from transformers import PrinterCallback, ProgressCallback, Trainer, TrainerCallback

from textvae.data.augment import AugmentedRows
from textvae.data.collator import Collator
from textvae.data.config import DataConfig
from textvae.data.encoding import text_lengths
from textvae.data.noise import Noise, NumberedRows
from textvae.data.sampler import LengthGroupedSampler, TokenBatches
from textvae.evaluation.advice import more_rate
from textvae.evaluation.latent import active_units, latent_information
from textvae.evaluation.likelihood import evaluate_bound
from textvae.inference.text_vae import TextVAE
from textvae.objectives import Objective
from textvae.training.aggressive import forget, is_aggressive, sides, train_encoder
from textvae.training.arguments import TextVAETrainingArguments, about_a_batch
from textvae.training.collapse import CollapseWatch
from textvae.training.ema import WeightAverage
from textvae.training.rates import Anchor, pretrained_weights, set_apart
from textvae.training.storage import load_weights, save_weights
from textvae.training.updates import ObjectiveOptimizer

logger = logging.getLogger(__name__)

EMA_FILE, OBJECTIVE_FILE, BEST_FOLDER, STEP = "ema.safetensors", "objective.safetensors", "best", "step.txt"


class TextVAETrainer(Trainer):
    """Trains a TextVAEModel.

    The loss of an update is the mean over all its sentences, however they are spread over accumulated batches. What
    is evaluated is the bound at beta = 1; checkpoints are compared by it only once beta has reached its final value.

    Args:
        model: a TextVAEModel.
        args: a TextVAETrainingArguments.
        objective: what is minimised.
        train_dataset, eval_dataset: rows with `ids`, `length` and `text`.
        processing_class: the tokenizer.
        callbacks: of transformers.
        data: how training texts are changed (DataConfig's `augment` and `noise`); None for not at all.
        encoder_tokenizer: of an encoder that does not read the decoder's ids.
        where: the objective stands in the recipe, for messages.
    """

    def __init__(
        self,
        model,
        args: TextVAETrainingArguments,
        objective: Objective,
        train_dataset,
        eval_dataset,
        processing_class,
        callbacks: list[TrainerCallback] | None = None,
        data: DataConfig | None = None,
        encoder_tokenizer=None,
        where: str = "objective",
    ):
        reader = processing_class if encoder_tokenizer is None else encoder_tokenizer
        data, seed = data or DataConfig(), _data_seed(args)
        if data.augment.is_on and encoder_tokenizer is not None:
            raise ValueError("data.augment: not with an encoder that has a tokenizer of its own; leave it out")
        if data.augment.is_on:
            train_dataset = AugmentedRows(train_dataset, data.augment, processing_class, seed)
        elif data.noise.is_on:
            train_dataset = NumberedRows(train_dataset)
        super().__init__(
            model=model,
            args=args,
            data_collator=Collator.of(model.config, Noise(data.noise, reader, seed) if data.noise.is_on else None),
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            processing_class=processing_class,
            callbacks=callbacks,
        )
        self.encoder_tokenizer = encoder_tokenizer
        self.objective = objective.to(self.args.device)
        self.loss_is_scaled_for_ga = True
        args.check(model, objective)
        args.metric_for_best_model = self.selects_by  # which a learning rate that falls on plateaus follows
        args.tell(model, data, processing_class, encoder_tokenizer)
        decay, trained_on = args.pretrained_weight_decay, pretrained_weights(model)
        self.anchor = Anchor(trained_on, decay) if decay and trained_on else None
        trains_objective = any(p.requires_grad for p in self.objective.parameters())
        self.objective_optimizer = ObjectiveOptimizer(self.objective) if trains_objective else None
        self.ema = WeightAverage(model, args.ema_decay) if args.ema_decay else None
        self._sums: dict[str, torch.Tensor | float] = {}
        self._update: list[tuple[torch.Tensor, int]] = []
        self._inner_updates: int | None = None
        section = {"kind": objective.kind, **objective.config.model_dump()}
        remedies = more_rate(section, model.config.latent, where)
        self._watch = CollapseWatch(model.config.latent_size, " ".join(remedies))
        self._clock_started = time.time()
        self.add_callback(_AroundStep(self))
        # Both print to stdout; callers show progress in their own way.
        self.remove_callback(PrinterCallback)
        self.remove_callback(ProgressCallback)
        # transformers sets this; it would be saved with the model, and generation has a setting of its own.
        del self.model.config.use_cache

    @property
    def progress(self) -> float:
        """Share of training done, in [0,1]."""
        return self.state.global_step / max(1, self.state.max_steps)

    @property
    def seconds(self) -> float:
        """Spent in training, evaluations included."""
        return time.time() - self._clock_started

    def go_on(self) -> None:
        """Sets the clock to what it showed when the checkpoint that training resumes from was written."""
        history = self.state.log_history
        self._clock_started = time.time() - (history[-1]["seconds"] if history else 0.0)

    # ---- A step ----

    def _get_train_sampler(self, train_dataset=None) -> LengthGroupedSampler:
        dataset = self.train_dataset if train_dataset is None else train_dataset
        numbered = isinstance(dataset, NumberedRows)
        lengths, seed = text_lengths(dataset.rows if numbered else dataset), _data_seed(self.args)
        if self.args.tokens_per_batch:
            return TokenBatches(lengths, self.args.tokens_per_batch, seed, numbered, self._by_length)
        # An update's sentences are the same in one batch and in accumulated ones.
        update = self.args.train_batch_size * self.args.gradient_accumulation_steps
        return LengthGroupedSampler(lengths, update, seed, numbered, self._by_length)

    @property
    def _by_length(self) -> bool:
        """Whether batches may hold texts of like length: not where something is computed of a batch as a whole."""
        normalised = any(isinstance(module, _BatchNorm) for module in self.model.modules())
        return not (normalised or self.objective.reads_batch)

    def get_train_dataloader(self) -> DataLoader:
        """As in transformers, which cannot take batches from a sampler."""
        if not self.args.tokens_per_batch:
            return super().get_train_dataloader()
        batches = self._get_train_sampler()
        self._sentences_per_batch = len(self.train_dataset) / len(batches)
        if self._sentences_per_batch < 2 and (what := about_a_batch(self.model, self.objective)):
            raise ValueError(
                f"training.tokens_per_batch: {self.args.tokens_per_batch} makes batches of "
                f"{self._sentences_per_batch:.1f} sentences on average, and {what} is about a batch as a whole; "
                "raise it"
            )
        loader = DataLoader(
            self.train_dataset,
            batch_sampler=batches,
            collate_fn=self.data_collator,
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory,
            persistent_workers=self.args.dataloader_persistent_workers,
        )
        return self.accelerator.prepare(loader)

    def _run_epoch(self, *args, **kwargs) -> None:
        # A run that is resumed at its end would take one step more.
        if self.state.global_step < self.state.max_steps:
            super()._run_epoch(*args, **kwargs)

    def _get_num_items_in_batch(self, batch_samples: list, device: torch.device) -> float:
        if self.args.tokens_per_batch:  # by a constant: a sentence weighs the same in every batch
            return self._sentences_per_batch * len(batch_samples)
        return sum(len(batch["input_ids"]) for batch in batch_samples)

    def compute_loss(self, model, inputs, return_outputs: bool = False, num_items_in_batch: float | None = None):
        """Mean over the sentences of the whole update (num_items_in_batch), of which `inputs` are a part."""
        # A language model has no z of which several samples would differ.
        samples = self.objective.num_samples if self.model.config.latent_size else 1
        output = model(**inputs, num_samples=samples)
        result = self.objective(output, self.progress)
        sentences = len(inputs["input_ids"])
        logs = {name: value * sentences for name, value in result.logs.items()}
        self._count(distortion=output.distortion.detach().mean(0).sum(), sentences=sentences, **logs)
        if self._inner_updates is not None:
            self._count(inner_updates=self._inner_updates * sentences)
        if output.rate is not None:
            rate = output.rate.detach().sum()
            self._count(rate=rate)
            self._update.append((rate, sentences))
        self._sums["beta"] = result.beta
        loss = result.loss * (sentences / (num_items_in_batch or sentences))
        return (loss, output) if return_outputs else loss

    def get_decay_parameter_names(self, model) -> list[str]:
        """As in transformers, but for numbers that are learned as they stand, around no zero."""
        places = (model.prior, model.posterior) if self.model.config.latent_size else ()
        free = {id(value) for part in places for value in part.parameters(recurse=False)}
        names = {name for name, value in model.named_parameters() if id(value) in free}
        return [name for name in super().get_decay_parameter_names(model) if name not in names]

    def create_optimizer(self, model=None) -> torch.optim.Optimizer:
        """As in transformers; pretrained weights have a rate and a decay of their own where that is asked for."""
        is_new, rate = self.optimizer is None, self.args.pretrained_learning_rate
        optimizer = super().create_optimizer(model)
        options = {} if rate is None else {"lr": rate}
        if self.args.pretrained_weight_decay is not None:
            options["weight_decay"] = 0.0  # of AdamW, to zero
        if is_new and options:
            set_apart(optimizer, pretrained_weights(self.model), **options)
        if is_new and self.anchor:  # after every step, those of the encoder alone too
            optimizer.register_step_post_hook(lambda made, *_: self.anchor.pull(made.param_groups[-1]["lr"]))
        return optimizer

    def _word_dropout(self) -> float:
        """Of the decoder, at this moment."""
        first, final = self.model.decoder.config.word_dropout, self.args.final_word_dropout
        return first if final is None else first + (final - first) * self.progress

    # ---- Aggressive training of the encoder ----

    @property
    def aggressive(self) -> bool:
        """Whether the encoder is trained alone before each update."""
        has_encoder = bool(self.model.config.latent_size)
        return self.args.aggressive and has_encoder and is_aggressive(self.state.log_history)

    def before_update(self) -> None:
        """Sets the word dropout of the moment, and trains the encoder alone where that is asked for."""
        self.model.decoder.drop_words.p = self._word_dropout()
        self._inner_updates = train_encoder(self) if self.aggressive else None

    def training_step(self, *args, **kwargs) -> torch.Tensor:
        """As in transformers; an update that follows others of the encoder alone leaves the encoder as it is."""
        loss = super().training_step(*args, **kwargs)
        if self.aggressive:
            forget(sides(self.model)[0])
        return loss

    def _count(self, **values) -> None:
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value

    def after_update(self) -> None:
        """Averages the weights, updates the objective and tells it the mean rate of the update."""
        if self.ema:
            self.ema.update()
        if self.objective_optimizer:
            self.objective_optimizer.step()
        if not self._update:  # a posterior without density has no rate
            return
        rates, sentences = zip(*self._update, strict=True)
        self._update = []
        self.objective.after_step(sum(rates) / sum(sentences))

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds the means since the last log: rate and distortion in nats a sentence, unweighted, and beta.

        And seconds of training so far, those before an interruption included.
        """
        if "loss" in logs and self._sums.get("sentences"):
            beta, sentences = self._sums.pop("beta"), self._sums.pop("sentences")
            means = {name: float(value) / sentences for name, value in self._sums.items()}
            if not self.model.config.latent_size:  # of a plain language model the rest is zero
                means = {"distortion": means["distortion"]}
            elif "rate" in means:
                means["beta"] = beta
            logs |= means
            self._sums = {}
        super().log(logs | {"seconds": round(self.seconds, 2)}, start_time)

    # ---- Evaluation and selection ----

    def weights(self) -> contextlib.AbstractContextManager:
        """Context in which the model has the weights that are evaluated and saved."""
        return self.ema.applied() if self.ema else contextlib.nullcontext()

    def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix: str = "eval") -> dict[str, float]:
        """The bound at beta = 1 on a split, with active units; some reconstructions are logged."""
        start = time.time()
        dataset = self.eval_dataset if eval_dataset is None else eval_dataset
        with self.weights():
            bound, information = evaluate_bound(self.model, dataset, bf16=self.args.bf16), None
            if self.args.aggressive and bound.rate is not None and self.model.config.latent_size:
                # Here, since the density of a posterior with a flow is that of the flow's weights of the moment.
                information = latent_information(bound)["mutual_information"]
            self._log_reconstructions(dataset)
        metrics = {"distortion": float(bound.distortion.double().mean())}
        if bound.nll is not None:
            metrics = {"nll": float(bound.nll.double().mean()), **metrics}
        name, value = next(iter(metrics.items()))
        if not math.isfinite(value):
            raise ValueError(
                f"training has diverged: {name} is {value} at step {self.state.global_step}; lower "
                "training.learning_rate or training.max_grad_norm, or set training.bf16=false"
            )
        if self.model.config.latent_size:
            if bound.rate is not None:
                metrics["rate"] = float(bound.rate.double().mean())
            if (active := active_units(bound.mu, self.model.posterior.support)) is not None:
                metrics["active_units"] = active
            if information is not None:
                metrics["mutual_information"] = information
        if {"rate", "active_units"} <= metrics.keys() and self.selects_by == "nll" and self.progress >= 0.1:
            self._watch.look(metrics["rate"], metrics["active_units"], self.state.global_step)
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in metrics.items()}
        metrics[f"{metric_key_prefix}_seconds"] = time.time() - start
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _log_reconstructions(self, dataset) -> None:
        count = min(self.args.log_reconstructions, len(dataset))
        if not count or not self.model.config.latent_size:
            return
        rows = dataset[:count]
        vae = TextVAE(self.model, self.processing_class, encoder_tokenizer=self.encoder_tokenizer)
        copies = vae.reconstruct(rows["text"], max_new_tokens=max(rows["length"]) + 5)
        for text, copy in zip(rows["text"], copies, strict=True):
            logger.info("step %d: %r -> %r", self.state.global_step, text, copy)

    @property
    def selects_by(self) -> str:
        """The quantity that checkpoints are compared by: distortion where a posterior without density has no nll."""
        if self.model.config.latent_size and not self.model.posterior.has_density:
            return "distortion"
        return self.objective.selects_by

    def _comparable(self) -> list[tuple[float, int]]:
        """Metric and step of the evaluations so far that may be compared, best first.

        At them beta had its final value, and the rate was one that the objective allows.
        """
        key, steps = f"eval_{self.selects_by}", max(1, self.state.max_steps)
        first: dict[int, dict] = {}  # of each step: later ones are of texts that a caller had evaluated
        for row in self.state.log_history:
            if key in row:
                first.setdefault(row["step"], row)
        rows = [row for step, row in first.items() if self.objective.warmed_up(step / steps)]
        # A language model and a deterministic posterior have no rate of which something could be asked.
        feasible = (row for row in rows if "eval_rate" not in row or self.objective.feasible(row["eval_rate"]))
        ranked = sorted((row[key], row["step"]) for row in feasible)
        # Of those that become the best only under the settings of a resumed run, the weights are gone.
        there = (self._kept_step(), self.state.global_step)
        while ranked and ranked[0][1] not in there:
            ranked.pop(0)
        return ranked

    def _determine_best_metric(self, metrics: dict[str, float], trial=None) -> bool:
        if "eval_rate" in metrics:
            self.objective.after_evaluation(metrics["eval_rate"])
        # The trainer state's own best_global_step stays unset: it would make transformers keep that checkpoint in
        # place of the last one, from which training resumes.
        ranked, step = self._comparable(), self.state.global_step
        if not ranked:
            return False
        self.state.best_metric = ranked[0][0]
        if ranked[0][1] != step:
            patience = self.args.early_stopping_patience
            self.control.should_training_stop |= 0 < patience <= sum(row[1] > ranked[0][1] for row in ranked)
            return False
        if self.args.should_save:
            self._save_best()
        return True

    def _save_best(self) -> None:
        folder = Path(self.args.output_dir) / BEST_FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        (folder / STEP).unlink(missing_ok=True)  # none is named while the weights change
        with self.weights():
            save_weights(self.accelerator.unwrap_model(self.model), folder / "model.safetensors")
        (folder / STEP).write_text(f"{self.state.global_step}\n")

    def _kept_step(self) -> int | None:
        """Of which the best weights are."""
        file = Path(self.args.output_dir) / BEST_FOLDER / STEP
        return int(file.read_text()) if file.is_file() else None

    def finish(self) -> dict[str, float]:
        """Gives the model the best weights found, after a last evaluation if the last step had none.

        Returns:
            `step` and the metric by which it was chosen.
        """
        key = f"eval_{self.selects_by}"
        if all(row["step"] != self.state.global_step for row in self.state.log_history if key in row):
            self.evaluate()
        self._determine_best_metric({})
        ranked = self._comparable()
        if not ranked:
            warmed_up = self.objective.warmed_up(self.progress)
            why = "without the rate that was asked for" if warmed_up else "before beta had reached its final value"
            logger.warning("training ended %s: the last weights are kept", why)
            self._save_best()
            last = next(row for row in reversed(self.state.log_history) if key in row)
            ranked = [(last[key], last["step"])]
        self._release()
        load_weights(self.model, Path(self.args.output_dir) / BEST_FOLDER / "model.safetensors")
        return {"step": ranked[0][1], key: ranked[0][0]}

    def keep_last(self) -> None:
        """Gives the model the last weights, averaged where averages are kept: what a stage hands on to the next."""
        self._release()
        if self.ema:
            self.ema.keep()

    def _release(self) -> None:
        """Leaves the model as it would be loaded: under bf16, training wraps its forward.

        And unmarked, since accelerate does not wrap a model again that it once has: a stage after the first would be
        trained in float32.
        """
        model = self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)
        vars(model).pop("_is_accelerate_prepared", None)

    # ---- Checkpoints ----

    def _save(self, output_dir: str | None = None, state_dict=None) -> None:
        folder = Path(output_dir or self.args.output_dir)
        self.model.save_pretrained(folder, state_dict=state_dict)
        if self.ema:
            save_file(self.ema.state_dict(), folder / EMA_FILE)
        if self.objective.state_dict():
            save_file(self.objective.state_dict(), folder / OBJECTIVE_FILE)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        if self.objective_optimizer and self.args.should_save:
            self.objective_optimizer.save(Path(output_dir))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if self.objective_optimizer and checkpoint is not None:
            self.objective_optimizer.load(Path(checkpoint))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model=None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        folder = Path(resume_from_checkpoint)
        if self.ema:
            self.ema.load_state_dict(load_file(folder / EMA_FILE))
        if self.objective.state_dict():
            self.objective.load_state_dict(load_file(folder / OBJECTIVE_FILE))


def _data_seed(args: TextVAETrainingArguments) -> int:
    return args.seed if args.data_seed is None else args.data_seed


class _AroundStep(TrainerCallback):
    """Calls what has to be done at the beginning and before and after each update."""

    def __init__(self, trainer: TextVAETrainer):
        self.trainer = trainer

    def on_train_begin(self, args, state, control, **kwargs):
        self.trainer.go_on()

    def on_step_begin(self, args, state, control, **kwargs):
        self.trainer.before_update()

    def on_step_end(self, args, state, control, **kwargs):
        self.trainer.after_update()
