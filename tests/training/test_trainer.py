"""The trainer: the loss of a step, what is logged, which weights are kept."""

import gc
import itertools
import logging
import math

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

from tests.contract import needs_bfloat16
from textvae import TextVAEConfig, TextVAEModel, TextVAETrainer, TextVAETrainingArguments, registry
from textvae.data.config import DataConfig
from textvae.data.encoding import encode_texts
from textvae.evaluation.likelihood import evaluate_bound
from textvae.objectives import Elbo, ElboConfig, beta_at
from textvae.tokenization import TokenizerConfig, make_tokenizer
from textvae.training.collapse import CollapseWatch

PART = {"kind": "recurrent", "embedding_size": 8, "hidden_size": 8}


@pytest.fixture
def sentences(texts):
    """24 sentences of 1 to 7 words."""
    cuts = itertools.cycle([1, 2, 4, 6, 8])
    return [" ".join(text.split()[: next(cuts)]) for text in texts[::12]]


@pytest.fixture
def make_trainer(tmp_path, tokenizer, sentences):
    """Builds a trainer of a small model without dropout; keyword arguments are training arguments."""
    # Trainers collect garbage before they start, which takes longer than the training here; what is there by now is
    # none.
    gc.freeze()

    def build(
        objective=None,
        latent_size=4,
        posterior="gaussian",
        prior="standard",
        dropout=0.0,
        anchor_embeddings=False,
        pooling="max",
        inject=("initial", "concat"),
        data=None,
        encoder_tokenizer=None,
        cls=TextVAETrainer,
        callbacks=None,
        evaluate_on=None,
        where="objective",
        **given,
    ) -> TextVAETrainer:
        torch.manual_seed(0)
        encoder = PART | {"pooling": pooling}
        decoder = PART | {"dropout": dropout, "word_dropout": dropout, "anchor_embeddings": anchor_embeddings}
        decoder |= {"inject": inject}
        latent = {"size": latent_size, "posterior": posterior, "prior": prior}
        model = TextVAEModel(TextVAEConfig(vocab_size=len(tokenizer), encoder=encoder, latent=latent, decoder=decoder))
        args = {
            "max_steps": 4,
            "per_device_train_batch_size": len(sentences),
            "bf16": False,
            "logging_steps": 1,
            "eval_strategy": "no",
            "save_strategy": "no",
            "log_reconstructions": 0,
        } | given
        trainer = cls(
            model=model,
            args=TextVAETrainingArguments(str(tmp_path / "checkpoints"), **args),
            objective=registry.build("objective", objective or {}, latent_size, default="elbo"),
            train_dataset=encode_texts(sentences, tokenizer),
            eval_dataset=encode_texts(evaluate_on or sentences[:9], tokenizer),
            processing_class=tokenizer,
            callbacks=callbacks,
            data=data,
            encoder_tokenizer=encoder_tokenizer,
            where=where,
        )
        return trainer

    return build


def without_noise(model):
    """The same model with a posterior so narrow that z is its mean, whatever is drawn."""
    with torch.no_grad():
        model.posterior.logvar.weight.zero_()
        model.posterior.logvar.bias.fill_(-60)
    return model


def weights(model):
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def distance(one, two):
    """Largest difference between two sets of weights."""
    return max(float((one[name] - two[name]).abs().max()) for name in one)


def history(trainer, key):
    return [row[key] for row in trainer.state.log_history if key in row]


class Recorder(TrainerCallback):
    """Keeps the weights of each step."""

    def __init__(self):
        self.steps = {}

    def on_step_end(self, args, state, control, model=None, **kwargs):
        self.steps[state.global_step] = weights(model)


class Seeded(TrainerCallback):
    def on_step_begin(self, args, state, control, **kwargs):
        torch.manual_seed(7)


# ---- A batch ----


def rows_of(ids, tokenizer):
    """What a batch reads as, without special tokens."""
    return sorted(tokenizer.batch_decode(ids, skip_special_tokens=True))


def test_noise_is_on_what_the_encoder_reads_in_training(make_trainer, tokenizer, sentences):
    trainer = make_trainer(data=DataConfig(noise={"blank": 1.0}), seed=3)
    (batch,) = trainer.get_train_dataloader()
    assert rows_of(batch["input_ids"], tokenizer) == sorted(sentences)
    ends = {tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}
    assert set(batch["encoder_input_ids"].flatten().tolist()) - ends == {tokenizer.mask_token_id}
    assert trainer.data_collator.noise.seed == 3
    assert make_trainer(data=DataConfig(noise={"blank": 1.0}), data_seed=5).data_collator.noise.seed == 5
    (plain,) = make_trainer().get_train_dataloader()
    assert torch.equal(plain["encoder_input_ids"], plain["input_ids"])


def test_augmented_texts_are_what_both_sides_read(make_trainer, tokenizer, sentences):
    found = []
    for seed in (1, 2):
        (batch,) = make_trainer(data=DataConfig(augment={"replace": 0.9}), seed=seed).get_train_dataloader()
        assert torch.equal(batch["encoder_input_ids"], batch["input_ids"])
        found.append(rows_of(batch["input_ids"], tokenizer))
        assert len(set(found[-1]) & set(sentences)) < 6
    assert found[0] != found[1]


def test_the_seed_of_the_order_of_texts(make_trainer):
    def order(**seeds):
        return list(make_trainer(per_device_train_batch_size=4, **seeds)._get_train_sampler())

    assert order(seed=1) == order(seed=1)
    assert order(seed=1) != order(seed=2)
    assert order(seed=1, data_seed=5) == order(seed=2, data_seed=5) == order(seed=5)


# ---- A step ----


def test_word_dropout_falls_in_a_straight_line(make_trainer):
    seen = []

    class Look(TrainerCallback):
        def on_step_end(self, args, state, control, model=None, **kwargs):
            seen.append(model.decoder.drop_words.p)

    trainer = make_trainer(dropout=0.8, final_word_dropout=0.2, callbacks=[Look()])
    trainer.train()
    assert seen == pytest.approx([0.8, 0.65, 0.5, 0.35])
    assert trainer.model.config.decoder["word_dropout"] == 0.8
    trainer = make_trainer(dropout=0.8, callbacks=[Look()])
    trainer.train()
    assert seen[4:] == [0.8] * 4


def test_word_dropout_that_does_not_fall_is_refused(make_trainer):
    message = r"training\.final_word_dropout: 0\.3 is no less than model\.decoder\.word_dropout, 0\.3"
    with pytest.raises(ValueError, match=message):
        make_trainer(dropout=0.3, final_word_dropout=0.3)


def test_a_learning_rate_that_falls_on_plateaus_follows_what_selects(make_trainer):
    """Not nll, which a posterior without density lacks, and which rises with a rate that has no weight."""
    for posterior, objective in (("deterministic", {"beta": 0}), ("gaussian", {"beta": 0}), ("gaussian", {"beta": 1})):
        options = {"eval_strategy": "steps", "eval_steps": 1, "lr_scheduler_type": "reduce_lr_on_plateau"}
        trainer = make_trainer(objective, posterior=posterior, **options)
        trainer.train()
        best = min(history(trainer, f"eval_{trainer.selects_by}"))
        assert float(trainer.lr_scheduler.best) == pytest.approx(best)


def test_what_is_learned_as_it_stands_does_not_decay(make_trainer):
    """Means and weights of a prior's components, pseudo-inputs, the shift of a BatchNorm: they lie around no zero."""
    trainer = make_trainer(prior="mixture", posterior={"kind": "gaussian", "batch_norm": 0.5})
    decay = trainer.get_decay_parameter_names(trainer.model)
    others = {name for name, _ in trainer.model.named_parameters()} - set(decay)
    kept = {"prior.logits", "prior.mu", "prior.logvar", "posterior.shift"}
    assert kept <= others
    assert all("bias" in name for name in others - kept)
    assert "posterior.mu.weight" in decay
    trainer = make_trainer(prior="vamp")
    assert "prior.pseudo_inputs" not in trainer.get_decay_parameter_names(trainer.model)


def test_anchored_vectors_without_decay_are_told(make_trainer, caplog):
    make_trainer(anchor_embeddings=True, weight_decay=0.1)
    assert "anchor_embeddings" not in caplog.text
    make_trainer(anchor_embeddings=True)
    assert "model.decoder.anchor_embeddings: no effect without training.weight_decay" in caplog.text


@pytest.mark.parametrize(
    ("pooling", "inject", "told"),
    [
        ("rotary", ("initial", "rotary"), None),
        ("max", ("initial",), None),
        (
            "rotary",
            ("initial",),
            "model.encoder.pooling: rotary is made for rotary in model.decoder.inject, which",
        ),
        ("max", ("rotary",), "rotary in model.decoder.inject is made for model.encoder.pooling: rotary, which is not"),
    ],
)
def test_half_of_a_rotary_latent_is_told(make_trainer, caplog, pooling, inject, told):
    make_trainer(pooling=pooling, inject=inject)
    assert ("is made for" in caplog.text) == bool(told)
    assert (told or "") in caplog.text


def test_where_rotary_pooling_tells_less(make_trainer, caplog, tokenizer):
    make_trainer(pooling="rotary", inject=("rotary",), data=DataConfig(noise={"swap": 0.1}))
    make_trainer(data=DataConfig(noise={"shuffle": 2}))
    assert "rotary" not in caplog.text
    make_trainer(pooling="rotary", inject=("rotary",), data=DataConfig(noise={"shuffle": 2}))
    assert "rotary tells less where data.noise drops or moves words" in caplog.text
    make_trainer(pooling="rotary", inject=("rotary",), encoder_tokenizer=tokenizer)
    assert "tokens of the encoder" not in caplog.text  # they are the decoder's
    other = make_tokenizer(TokenizerConfig(kind="char"), ["other letters"])
    make_trainer(pooling="rotary", inject=("rotary",), encoder_tokenizer=other)
    assert "rotary pooling counts the tokens of the encoder, which are not those of the decoder" in caplog.text


def test_augmented_texts_are_not_for_an_encoder_with_other_tokens(make_trainer, tokenizer):
    with pytest.raises(ValueError, match=r"data\.augment: not with an encoder that has a tokenizer of its own"):
        make_trainer(data=DataConfig(augment={"splice": 0.1}), encoder_tokenizer=tokenizer)


def test_a_rate_for_pretrained_weights_where_there_are_none(make_trainer, caplog):
    trainer = make_trainer(pretrained_learning_rate=1e-4)
    trainer.train()
    assert "training.pretrained_learning_rate: no effect" in caplog.text
    plain = make_trainer()
    plain.train()
    assert distance(weights(trainer.model), weights(plain.model)) == 0


@pytest.mark.parametrize("tokens", [None, 60])
@pytest.mark.parametrize(
    ("objective", "posterior", "by_length"),
    [
        ({}, "gaussian", True),
        ({"kind": "adversarial"}, "deterministic", True),
        ({"kind": "infovae"}, "gaussian", False),
        ({}, {"kind": "gaussian", "batch_norm": 0.5}, False),
    ],
)
def test_batches_are_random_where_something_is_computed_of_a_whole_batch(
    make_trainer, objective, posterior, by_length, tokens
):
    trainer = make_trainer(objective, posterior=posterior, per_device_train_batch_size=4, tokens_per_batch=tokens)
    assert trainer._get_train_sampler().by_length is by_length


@pytest.mark.parametrize(("kind", "key"), [("adversarial", "discriminator_loss"), ("infovae", "mmd")])
def test_what_an_objective_tells_is_logged_where_there_is_no_rate(make_trainer, kind, key):
    trainer = make_trainer({"kind": kind}, posterior="deterministic")
    trainer.train()
    rows = [row for row in trainer.state.log_history if "loss" in row]
    assert rows
    assert all(math.isfinite(row[key]) and row["distortion"] > 0 and "rate" not in row for row in rows)


def test_batch_norm_gives_mu_its_deviation_where_length_is_all_that_z_tells(make_trainer):
    """Sorted batches have one length each: over them nothing would be left of it, and far too much in evaluation."""
    given = {"per_device_train_batch_size": 8, "max_steps": 150, "learning_rate": 0.0, "ema_decay": 0.0}
    trainer = make_trainer(posterior={"kind": "gaussian", "batch_norm": 0.5}, **given)
    lengths = torch.tensor(trainer.train_dataset["length"][:]).float()
    size = trainer.model.encoder.output_size
    trainer.model.encoder.forward = lambda ids, mask, *_, **__: (mask.sum(1, keepdim=True) - 4.0) * torch.ones(size)
    trainer.train()
    with torch.no_grad():
        mu = trainer.model.eval().posterior((lengths + 1 - 4.0)[:, None] * torch.ones(size)).mu
    torch.testing.assert_close(mu.std(0, correction=0), torch.full((4,), 0.5), rtol=0.2, atol=0)


@pytest.mark.parametrize(
    "objective",
    [
        {"beta": 1.0},
        {"beta": 0.0},
        {"beta": 2.0, "free_bits": 1.0},
        {"num_samples": 3},
        {"kind": "target_rate"},
        {"kind": "infovae"},
        {"kind": "iwae", "num_samples": 3},
        {"kind": "adversarial"},
    ],
)
def test_a_step_follows_the_gradient_of_the_mean_loss(make_trainer, objective):
    recorder = Recorder()
    options = {"optim": "sgd", "learning_rate": 0.01, "max_grad_norm": 0.0, "lr_scheduler_type": "constant"}
    trainer = make_trainer(objective, callbacks=[recorder, Seeded()], max_steps=1, **options)
    model, before = trainer.model, weights(trainer.model)
    batch = trainer.data_collator([trainer.train_dataset[i] for i in trainer._get_train_sampler()])
    torch.manual_seed(7)
    output = model.train()(**batch, num_samples=trainer.objective.num_samples)
    loss = trainer.objective(output, 0.0).loss
    gradients = dict(zip(before, torch.autograd.grad(loss, model.parameters(), allow_unused=True), strict=True))
    trainer.train()
    for name, after in recorder.steps[1].items():
        gradient = 0 if gradients[name] is None else gradients[name]
        torch.testing.assert_close(after, before[name] - 0.01 * gradient)
    assert history(trainer, "loss") == [pytest.approx(loss.item(), rel=1e-5)]


def accumulated(make_trainer, batch_size, parts, objective):
    """Weights and losses after 3 updates over all sentences each."""
    options = {"optim": "sgd", "learning_rate": 0.01, "max_steps": 3}
    trainer = make_trainer(
        objective, per_device_train_batch_size=batch_size, gradient_accumulation_steps=parts, **options
    )
    without_noise(trainer.model)
    trainer.train()
    assert trainer.state.global_step == 3
    return weights(trainer.model), history(trainer, "loss"), history(trainer, "distortion")


SUM = {"beta": 1.0}
# In the middle of the rates of these sentences, so that some are clamped and some are not.
PER_SENTENCE = {"beta": 1.0, "free_bits": 118.27, "free_bits_over": "sentence"}
PER_BATCH = {"beta": 1.0, "free_bits": 118.27, "free_bits_over": "batch"}


@pytest.mark.parametrize("objective", [SUM, PER_SENTENCE], ids=["sum", "free bits of each sentence"])
@pytest.mark.parametrize(("batch_size", "parts"), [(12, 2), (1, 24), (10, 3)])
def test_accumulation_equals_a_big_batch(make_trainer, batch_size, parts, objective):
    """Also where the last part is smaller: 24 sentences are 10, 10 and 4."""
    big, losses, distortions = accumulated(make_trainer, 24, 1, objective)
    small, *logged = accumulated(make_trainer, batch_size, parts, objective)
    assert distance(big, weights(make_trainer().model)) > 1e-2
    assert distance(big, small) < 1e-5
    assert logged == [pytest.approx(losses, rel=1e-5), pytest.approx(distortions, rel=1e-5)]


def test_some_of_the_rates_are_clamped_there(make_trainer):
    rate = evaluate_bound(without_noise(make_trainer().model), make_trainer().train_dataset, bf16=False).rate
    assert 0 < int((rate < PER_SENTENCE["free_bits"]).sum()) < len(rate)


def test_accumulation_with_free_bits_of_the_batch_is_another_objective(make_trainer):
    """The exception that docs/architecture.md names: the mean is clamped in each part."""
    big, *_ = accumulated(make_trainer, 24, 1, PER_BATCH)
    small, *_ = accumulated(make_trainer, 8, 3, PER_BATCH)
    assert distance(big, small) > 1e-3


@pytest.mark.parametrize("batch_size", [24, 7])
def test_every_epoch_has_all_sentences_in_a_new_order(make_trainer, batch_size):
    trainer = make_trainer(per_device_train_batch_size=batch_size, max_steps=3 * -(-24 // batch_size))
    seen, collate = [], trainer.data_collator
    trainer.data_collator = lambda rows: seen.append([row["text"] for row in rows]) or collate(rows)
    trainer.train()
    epochs = [
        [text for batch in seen[start : start + -(-24 // batch_size)] for text in batch]
        for start in range(0, len(seen), -(-24 // batch_size))
    ]
    assert len(epochs) == 3
    assert all(sorted(epoch) == sorted(trainer.train_dataset["text"]) for epoch in epochs)
    assert batch_size == 24 or len({tuple(epoch) for epoch in epochs}) == 3


# ---- What is logged ----


@pytest.mark.parametrize("samples", [1, 3])
def test_logged_terms_are_unweighted_means(make_trainer, samples):
    """With a learning rate of nothing, and z without noise, every log repeats the numbers of the training texts."""
    objective = {"beta": 3.0, "free_bits": 500.0, "num_samples": samples}
    trainer = make_trainer(objective, learning_rate=1e-30, per_device_train_batch_size=7)
    trainer.args.logging_steps = 4  # an epoch
    without_noise(trainer.model)
    bound = evaluate_bound(trainer.model, trainer.train_dataset, bf16=False)
    trainer.train()
    assert history(trainer, "distortion") == [pytest.approx(float(bound.distortion.mean()), rel=1e-5)]
    assert history(trainer, "rate") == [pytest.approx(float(bound.rate.mean()), rel=1e-5)]


@pytest.mark.parametrize(("batch_size", "parts"), [(24, 1), (10, 3)])
def test_what_an_objective_logs_is_a_mean_as_well(make_trainer, batch_size, parts):
    objective = {"kind": "target_rate", "rate": 1.0, "multiplier_learning_rate": 1e-30}
    options = {"per_device_train_batch_size": batch_size, "gradient_accumulation_steps": parts}
    trainer = make_trainer(objective, **options)
    trainer.train()
    assert history(trainer, "multiplier") == pytest.approx([1.0] * 4)


@pytest.mark.parametrize("schedule", ["constant", "linear", "logistic", "cosine", "cyclical"])
def test_beta_follows_its_schedule(make_trainer, schedule):
    objective = {"beta": {"schedule": schedule, "warmup": 0.5, "max": 0.8}}
    trainer = make_trainer(objective, max_steps=10)
    trainer.train()
    config = trainer.objective.config.beta
    assert history(trainer, "beta") == pytest.approx([beta_at(config, step / 10) for step in range(10)])


def test_evaluation_is_the_bound_at_beta_one(make_trainer):
    trainer = make_trainer({"beta": 0.1}, eval_strategy="steps", eval_steps=2)
    trainer.train()
    last = evaluate_bound(trainer.model, trainer.eval_dataset, bf16=False)
    rows = [row for row in trainer.state.log_history if "eval_nll" in row]
    assert [row["step"] for row in rows] == [2, 4]
    assert rows[-1]["eval_nll"] == pytest.approx(float(last.nll.mean()), rel=1e-5)
    assert rows[-1]["eval_nll"] == pytest.approx(rows[-1]["eval_distortion"] + rows[-1]["eval_rate"])
    assert rows[-1]["eval_active_units"] == int((last.mu.var(0) > 0.01).sum())


def test_reconstructions_are_logged(make_trainer, sentences, caplog):
    caplog.set_level(logging.INFO, "textvae")
    trainer = make_trainer(log_reconstructions=2, eval_strategy="steps", eval_steps=2)
    trainer.train()
    shown = [message for message in caplog.messages if "->" in message]
    assert len(shown) == 4
    assert shown[0].startswith(f"step 2: {sentences[0]!r} -> ")
    assert shown[-1].startswith(f"step 4: {sentences[1]!r} -> ")


def test_evaluation_does_not_disturb_training(make_trainer):
    """Neither its samples nor its reconstructions nor averaged weights change what is learnt."""
    results = []
    for given in ({}, {"eval_strategy": "steps", "eval_steps": 1, "log_reconstructions": 2, "ema_decay": 0.9}):
        trainer = make_trainer(dropout=0.3, max_steps=8, per_device_train_batch_size=7, **given)
        trainer.train()
        results.append(weights(trainer.model))
    assert distance(*results) == 0


@pytest.mark.parametrize("disable_tqdm", [True, False])
def test_nothing_on_stdout(make_trainer, capsys, disable_tqdm):
    make_trainer(eval_strategy="steps", eval_steps=2, disable_tqdm=disable_tqdm).train()
    assert capsys.readouterr().out == ""


# ---- Which weights are kept ----


class Scripted(TextVAETrainer):
    """A trainer whose evaluations give prescribed numbers."""

    nll: dict[int, float]
    distortion: dict[int, float]
    rates: dict[int, float]

    def evaluate(self, *args, **kwargs):
        step = self.state.global_step
        metrics = {"eval_nll": self.nll[step], "eval_distortion": self.distortion[step]}
        metrics["eval_rate"] = self.rates[step]
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


def scripted(make_trainer, objective, nll, distortion=None, rates=None, **given):
    recorder = Recorder()
    given = {"max_steps": len(nll), "eval_strategy": "steps", "eval_steps": 1, "learning_rate": 0.01} | given
    trainer = make_trainer(objective, cls=Scripted, callbacks=[recorder], **given)
    trainer.nll = dict(enumerate(nll, 1))
    trainer.distortion = dict(enumerate(distortion or [0.0] * len(nll), 1))
    trainer.rates = dict(enumerate(rates or [0.0] * len(nll), 1))
    return trainer, recorder


WARMUP = {"beta": {"schedule": "linear", "warmup": 0.5}}


@pytest.mark.parametrize(
    ("objective", "nll", "distortion", "best"),
    [
        ({"beta": 1.0}, [5, 3, 4, 6], None, 2),
        ({"beta": 1.0}, [5, 4, 3, 2], None, 4),
        ({"beta": 1.0}, [5, 3, 3, 3], None, 2),
        (WARMUP, [1, 2, 5, 4, 3, 6], None, 5),
        (WARMUP, [1, 2, 3, 4, 5, 6], None, 3),
        ({"beta": {"schedule": "linear", "warmup": 1.0}}, [1, 2, 3, 4], None, 4),
        ({"beta": {"schedule": "cyclical", "warmup": 0.5, "cycles": 2}}, [1, 1, 1, 1, 1, 3, 2, 4], None, 7),
        ({"beta": 0.0}, [1, 2, 3, 4], [4, 2, 1, 3], 3),
        ({"beta": 0.5}, [2, 1, 3, 4], [4, 3, 2, 1], 2),
    ],
)
def test_best_weights(make_trainer, objective, nll, distortion, best):
    """The lowest bound once beta has its final value; distortion for an autoencoder without beta."""
    trainer, recorder = scripted(make_trainer, objective, nll, distortion)
    trainer.train()
    chosen = trainer.finish()
    values = distortion if objective == {"beta": 0.0} else nll
    assert chosen == {"step": best, f"eval_{trainer.objective.selects_by}": values[best - 1]}
    assert distance(weights(trainer.model), recorder.steps[best]) == 0
    assert distance(weights(trainer.model), recorder.steps[1 if best > 1 else 2]) > 0


@pytest.mark.parametrize(
    ("objective", "nll", "patience", "last"),
    [
        ({"beta": 1.0}, [5, 4, 6, 6, 6, 6], 0, 6),
        ({"beta": 1.0}, [5, 4, 6, 6, 6, 6], 2, 4),
        ({"beta": 1.0}, [5, 4, 6, 3, 6, 6, 1, 1], 2, 6),
        ({"beta": 1.0}, [5, 4, 3, 2], 1, 4),
        (WARMUP, [1, 2, 3, 4, 9, 9, 9, 9, 9, 9], 3, 7),
    ],
)
def test_early_stopping(make_trainer, objective, nll, patience, last):
    """Evaluations without improvement are counted from the end of beta's warm-up on."""
    if objective == WARMUP:
        objective = {"beta": {"schedule": "linear", "warmup": 0.4}}
    trainer, _ = scripted(make_trainer, objective, nll, early_stopping_patience=patience)
    trainer.train()
    assert trainer.state.global_step == last


def test_last_step_is_evaluated(make_trainer):
    trainer = make_trainer(max_steps=5, eval_strategy="steps", eval_steps=2)
    trainer.train()
    trainer.finish()
    assert [row["step"] for row in trainer.state.log_history if "eval_nll" in row] == [2, 4, 5]


def test_stopped_before_the_end_of_the_warm_up(make_trainer, caplog):
    """Nothing is comparable then, so the last weights are kept."""

    class Stop(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            control.should_training_stop = state.global_step == 3

    recorder = Recorder()
    trainer = make_trainer(WARMUP, max_steps=10, callbacks=[recorder, Stop()], eval_strategy="steps", eval_steps=1)
    trainer.train()
    assert trainer.finish()["step"] == 3
    assert distance(weights(trainer.model), recorder.steps[3]) == 0
    assert "before beta had reached its final value" in caplog.text


def test_evaluation_at_the_start_is_no_candidate(make_trainer):
    trainer = make_trainer({"beta": 1.0}, eval_on_start=True, eval_strategy="steps", eval_steps=2, learning_rate=1.0)
    trainer.train()
    assert trainer.finish()["step"] in (2, 4)


def test_averaged_weights_are_evaluated_and_kept(make_trainer):
    recorder = Recorder()
    trainer = make_trainer(callbacks=[recorder], ema_decay=0.9, learning_rate=0.01, max_steps=6)
    first = weights(trainer.model)
    trainer.train()
    average = first
    for step in range(1, 7):
        keep = min(0.9, (1 + step) / (10 + step))
        average = {name: keep * average[name] + (1 - keep) * p for name, p in recorder.steps[step].items()}
    assert distance(weights(trainer.model), recorder.steps[6]) == 0  # training itself goes on without them
    metrics = trainer.evaluate()
    trainer.finish()
    assert distance(weights(trainer.model), average) < 1e-6
    assert distance(weights(trainer.model), recorder.steps[6]) > 1e-3
    again = evaluate_bound(trainer.model, trainer.eval_dataset, bf16=False)
    assert metrics["eval_nll"] == pytest.approx(float(again.nll.mean()), rel=1e-5)


def test_a_stage_hands_on_averaged_weights(make_trainer):
    recorder = Recorder()
    trainer = make_trainer(callbacks=[recorder], ema_decay=0.9, learning_rate=0.01, max_steps=6)
    average = weights(trainer.model)
    trainer.train()
    for step in range(1, 7):
        keep = min(0.9, (1 + step) / (10 + step))
        average = {name: keep * average[name] + (1 - keep) * p for name, p in recorder.steps[step].items()}
    trainer.keep_last()
    assert distance(weights(trainer.model), average) < 1e-6
    assert distance(weights(trainer.model), recorder.steps[6]) > 1e-3


def test_active_units_on_the_sphere(make_trainer, monkeypatch):
    """Held against the variance that the uniform prior has there."""
    seen = []
    monkeypatch.setattr("textvae.training.trainer.active_units", lambda mu, support: seen.append(support) or 0)
    make_trainer({"beta": 1.0}, posterior="vmf", prior="uniform").evaluate()
    make_trainer().evaluate()
    assert seen == ["sphere", "euclidean"]


TARGET = {"kind": "target_rate", "rate": 3.0, "constraint": "equal"}


@pytest.mark.parametrize(
    ("constraint", "rates", "best"),
    [("equal", [2.8, 2.9, 3.1, 3.2], 2), ("at_least", [2.8, 2.9, 3.1, 9.0], 4), ("equal", [1.0, 2.0, 4.0, 5.0], 4)],
)
def test_best_weights_have_the_rate_that_was_asked_for(make_trainer, caplog, constraint, rates, best):
    """Within 5 %; where no evaluation has it, the last weights are kept and it is said."""
    trainer, recorder = scripted(make_trainer, TARGET | {"constraint": constraint}, [1, 3, 4, 2], rates=rates)
    trainer.train()
    assert trainer.finish()["step"] == best
    assert distance(weights(trainer.model), recorder.steps[best]) == 0
    assert ("without the rate that was asked for" in caplog.text) is (rates[0] == 1.0)


@pytest.mark.parametrize(("batch_size", "parts"), [(12, 2), (10, 3)])
def test_the_multiplier_sees_the_rate_of_the_whole_update(make_trainer, batch_size, parts):
    objectives = []
    for size, count in ((24, 1), (batch_size, parts)):
        trainer = make_trainer(
            TARGET, per_device_train_batch_size=size, gradient_accumulation_steps=count, optim="sgd", max_steps=3
        )
        without_noise(trainer.model)
        trainer.train()
        objectives.append(trainer.objective)
    big, small = objectives
    assert big.updates == small.updates == 3
    assert big.multiplier < 0.95
    torch.testing.assert_close(small.multiplier, big.multiplier)
    torch.testing.assert_close(small.training_rate, big.training_rate)


def test_an_objective_s_own_parameters_take_a_step_each_update(make_trainer):
    """Adam's first step is the learning rate, and what it remembers is the gradient of the whole update."""
    objective, gradients = {"kind": "adversarial", "learning_rate": 0.01, "hidden_size": 8}, []
    for batch_size, parts in ((24, 1), (10, 3)):
        trainer = make_trainer(
            objective, per_device_train_batch_size=batch_size, gradient_accumulation_steps=parts, max_steps=1
        )
        without_noise(trainer.model)
        trainer.model.prior.sample = lambda n, *_, **__: torch.tensor([0.5, -1.0, 2.0, 0.1]).expand(n, -1)
        before = weights(trainer.objective)
        trainer.train()
        assert distance(before, weights(trainer.objective)) == pytest.approx(0.01, rel=1e-3)
        assert all(p.grad is None for p in trainer.objective.parameters())
        states = [trainer.objective_optimizer.optimizer.state[p] for p in trainer.objective.parameters()]
        assert all(state["step"] == 1 for state in states)
        assert "discriminator_loss" in trainer.state.log_history[0]
        gradients.append([state["exp_avg"] for state in states])
    assert max(float(gradient.abs().max()) for gradient in gradients[0]) > 1e-3
    for whole, gathered in zip(*gradients, strict=True):
        torch.testing.assert_close(gathered, whole, rtol=1e-4, atol=1e-7)


def test_only_evaluations_in_the_course_of_training_move_the_target(make_trainer):
    trainer = make_trainer(TARGET, eval_strategy="steps", eval_steps=2, max_steps=4)
    trainer.train()
    moved = trainer.objective.target.clone()
    last = history(trainer, "eval_rate")[-1]
    ratio = float(trainer.objective.training_rate) / last
    assert float(moved) == pytest.approx(3.0 * min(2.0, max(0.5, ratio)), rel=1e-5)
    assert float(moved) != pytest.approx(3.0, rel=1e-3)
    trainer.evaluate(trainer.train_dataset)
    assert torch.equal(trainer.objective.target, moved)


# ---- Kinds of models, precision, trouble ----


def collapse_warnings(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def test_collapse_is_reported_once_with_advice(make_trainer, caplog):
    """A great weight on the rate and no free bits: the latent vector soon says nothing."""
    options = {"eval_strategy": "steps", "eval_steps": 5, "max_steps": 40, "learning_rate": 0.05}
    trainer = make_trainer({"beta": 20.0}, **options)
    trainer.train()
    assert trainer.state.log_history[-2]["eval_rate"] < 0.1
    [warning] = collapse_warnings(caplog)
    assert "the posterior looks collapsed at step" in warning
    for advice in ("Raise objective.free_bits (now 0.0) to 8", "objective.beta.max", "model.decoder.word_dropout"):
        assert advice in warning
    assert "Let beta rise" in warning  # it is constant


def test_aggressive_training_without_evaluations_would_never_end(make_trainer):
    with pytest.raises(ValueError, match=r"training\.aggressive: true ends when .*training\.eval_strategy: no never"):
        make_trainer(aggressive=True)


@pytest.mark.parametrize(
    ("numbers", "warned"),
    [
        ([(0.5, 4), (0.5, 4), (0.5, 4)], 1),
        ([(9.0, 0), (9.0, 0), (9.0, 4)], 1),
        ([(0.5, 4), (9.0, 4), (0.5, 4)], 0),
        ([(9.0, 0), (9.0, 4), (9.0, 4), (0.5, 4), (9.0, 0)], 1),
        ([(1.0, 1), (9.0, 1)], 0),
    ],
)
def test_what_looks_collapsed(caplog, numbers, warned):
    """A rate below 1 nat, or fewer than a tenth of the units active, at two evaluations in a row."""
    watch = CollapseWatch(4, "Do so")
    for step, (rate, active) in enumerate(numbers):
        watch.look(rate, active, step)
    assert len(collapse_warnings(caplog)) == warned


@pytest.mark.parametrize(
    "given",
    [
        {"objective": {"beta": 0.0}},
        {"latent_size": 0},
        # Nothing can be said in the first tenth of training.
        {"objective": {"beta": 20.0}, "max_steps": 1000, "callbacks": "stop"},
    ],
    ids=["autoencoder", "language model", "too early"],
)
def test_no_warning_without_collapse(make_trainer, caplog, given):
    class Stop(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            control.should_training_stop = state.global_step == 40

    given = {"max_steps": 40, "eval_strategy": "steps", "eval_steps": 5, "learning_rate": 0.05} | given
    make_trainer(**{**given, "callbacks": [Stop()]}).train()
    assert collapse_warnings(caplog) == []


@pytest.mark.parametrize(
    ("objective", "latent_size"), [({"beta": 1.0}, 4), ({"beta": 0.0}, 4), ({}, 0)], ids=["vae", "autoencoder", "lm"]
)
@pytest.mark.parametrize("bf16", [False, pytest.param(True, marks=needs_bfloat16)])
def test_kinds_of_models_learn(make_trainer, objective, latent_size, bf16, tmp_path):
    trainer = make_trainer(objective, latent_size, bf16=bf16, max_steps=40, learning_rate=0.02)
    before = trainer.evaluate()["eval_distortion"]
    trainer.train()
    trainer.finish()
    rows = [row for row in trainer.state.log_history if "loss" in row]
    assert trainer.state.log_history[-1]["eval_distortion"] < 0.7 * before
    assert ("rate" in rows[-1]) is ("beta" in rows[-1]) is (latent_size > 0)
    # What is handed on is a model in full precision, the one that is loaded from disk.
    trainer.model.save_pretrained(tmp_path / "model")
    loaded = TextVAEModel.from_pretrained(tmp_path / "model")
    ids, z = torch.tensor([[1, 7, 8, 9]]), torch.ones(1, latent_size)
    with torch.no_grad():
        logits = trainer.model.eval()(ids, z=z).logits
        torch.testing.assert_close(logits, loaded(ids, z=z).logits, atol=1e-5, rtol=1e-5)
    assert "use_cache" not in (tmp_path / "model" / "config.json").read_text()


def test_divergence_is_named(make_trainer):
    trainer = make_trainer(learning_rate=1e20, max_grad_norm=0.0, optim="sgd", eval_strategy="steps", eval_steps=2)
    with pytest.raises(ValueError, match=r"training has diverged: nll is nan at step 2; lower training\.learn"):
        trainer.train()


class Counting(Elbo):
    """An objective with a state of its own."""

    def __init__(self):
        super().__init__(ElboConfig())
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, output, progress):
        self.seen += output.distortion.shape[1]
        return super().forward(output, progress)


def test_a_checkpoint_holds_the_objective_s_state_and_the_averages(make_trainer, tmp_path):
    options = {"save_strategy": "steps", "save_steps": 2, "ema_decay": 0.9}
    trainer = make_trainer(**options)
    trainer.objective = Counting()
    trainer.train()
    folder = tmp_path / "checkpoints" / "checkpoint-4"
    assert load_file(folder / "objective.safetensors")["seen"] == 4 * 24
    average = load_file(folder / "ema.safetensors")
    assert average.pop("updates") == 4
    assert distance(average, trainer.ema.average) == 0
    assert distance(load_file(folder / "model.safetensors"), weights(trainer.model)) == 0
    resumed = make_trainer(**options)
    resumed.objective = Counting()
    resumed.train(resume_from_checkpoint=str(folder))
    assert resumed.objective.seen == 4 * 24
    assert distance(resumed.ema.average, average) == 0
    assert resumed.ema.updates == 4


def test_a_checkpoint_holds_no_more_than_it_must(make_trainer, tmp_path):
    make_trainer(save_strategy="steps", save_steps=2).train()
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["checkpoint-4"]
    assert {path.name for path in (tmp_path / "checkpoints" / "checkpoint-4").iterdir()} == {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "optimizer.pt",
        "rng_state.pth",
        "scheduler.pt",
        "trainer_state.json",
    }


# ---- Batches by tokens ----


def test_batches_by_tokens_weigh_every_sentence_the_same(make_trainer):
    """The gradients of an epoch's batches add up to that of one batch with all sentences."""
    trainer = make_trainer(tokens_per_batch=30)
    model = without_noise(trainer.model).train()
    loader = trainer.get_train_dataloader()
    parts = list(loader)
    assert len(parts) > 3
    assert len({len(part["input_ids"]) for part in parts}) > 1
    for part in parts:
        expected = trainer._get_num_items_in_batch([part], trainer.args.device)
        trainer.compute_loss(model, part, num_items_in_batch=trainer._sentences_per_batch).backward()
        assert expected == 24 / len(parts)
    summed = {name: p.grad / len(parts) for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    whole = trainer.data_collator([trainer.train_dataset[row] for row in range(24)])
    trainer.compute_loss(model, whole).backward()
    for name, gradient in summed.items():
        parameter = dict(model.named_parameters())[name]
        torch.testing.assert_close(gradient, parameter.grad, rtol=1e-4, atol=1e-5, msg=name)


def test_batches_of_single_sentences_are_refused_where_something_is_computed_of_a_whole_one(make_trainer):
    for options in ({"objective": {"kind": "infovae"}}, {"posterior": {"kind": "gaussian", "batch_norm": 0.5}}):
        with pytest.raises(ValueError, match=r"tokens_per_batch: 12 makes batches of 1\.\d sentences on average"):
            make_trainer(**options, tokens_per_batch=12).train()
    make_trainer(tokens_per_batch=12, max_steps=1).train()


@pytest.mark.parametrize(
    ("options", "objective", "message"),
    [
        (
            {"torch_compile": True},
            {"kind": "iwae"},
            r"training\.torch_compile: true is not allowed with this objective",
        ),
        ({"optim": "schedule_free_adamw"}, {}, r"training\.optim: .*schedule_free_adamw keeps averages"),
    ],
)
def test_what_would_be_wrong_without_a_word_is_refused(make_trainer, options, objective, message):
    with pytest.raises(ValueError, match=message):
        make_trainer(objective, **options)


def test_several_processes_are_refused(make_trainer, monkeypatch):
    monkeypatch.setattr(TextVAETrainingArguments, "world_size", property(lambda self: 2))
    with pytest.raises(ValueError, match="training: 2 processes were started; start one, without torchrun"):
        make_trainer()


def test_batches_by_tokens_are_refused_with_aggressive_training(make_trainer):
    with pytest.raises(ValueError, match=r"training\.tokens_per_batch: not with training\.aggressive"):
        make_trainer(tokens_per_batch=30, aggressive=True, eval_strategy="steps")


# ---- The clock ----


def test_the_clock_goes_on_after_an_interruption(make_trainer):
    trainer = make_trainer(max_steps=2)
    trainer.train()
    rows = trainer.state.log_history
    seconds = [row["seconds"] for row in rows]
    assert seconds == sorted(seconds)
    assert 0 <= seconds[0] < 60
    trainer.state.log_history[-1]["seconds"] = 1000.0
    trainer.go_on()
    assert 1000 <= trainer.seconds < 1060


@pytest.mark.parametrize("parts", [2, 4])
def test_an_update_holds_the_same_sentences_however_it_is_accumulated(make_trainer, parts):
    """Batches are sorted and shuffled by updates, so that losses can be compared step by step."""
    losses = []
    for batch, accumulated in ((8, 1), (8 // parts, parts)):
        trainer = make_trainer(per_device_train_batch_size=batch, gradient_accumulation_steps=accumulated)
        without_noise(trainer.model)
        trainer.train()
        losses.append([row["loss"] for row in trainer.state.log_history if "loss" in row])
    assert len(losses[0]) == 4
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


# ---- What cannot be ----


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"posterior": {"kind": "gaussian", "batch_norm": 0.7}},
            "1 is not allowed, since model.latent.posterior.batch",
        ),
        ({"objective": {"kind": "infovae"}}, "1 is not allowed, since this objective is about a batch as a whole"),
        ({"early_stopping_patience": 2}, "early_stopping_patience: no effect without evaluations"),
        ({"aggressive": True, "eval_strategy": "steps", "eval_steps": 9}, "eval_steps 9 is more than max_steps"),
    ],
)
def test_refused(make_trainer, options, message):
    with pytest.raises(ValueError, match=message):
        make_trainer(per_device_train_batch_size=1, **options)


def test_numbers_of_other_texts_choose_no_weights(make_trainer):
    trainer, _ = scripted(make_trainer, {"beta": 1.0}, [5, 3, 4, 6])
    trainer.train()
    trainer.nll[4] = 1.0  # of texts that the last weights know
    trainer.evaluate(trainer.train_dataset)
    assert trainer.finish()["step"] == 2


def test_a_single_validation_text_looks_like_nothing(make_trainer, sentences, monkeypatch, caplog):
    monkeypatch.setattr("textvae.training.collapse.LEAST_RATE", -1.0)
    trainer = make_trainer(evaluate_on=sentences[:1], eval_strategy="steps", eval_steps=1)
    trainer.train()
    assert collapse_warnings(caplog) == []
    assert "eval_active_units" not in trainer.state.log_history[-1]


def test_a_collapse_is_told_with_the_place_of_the_objective(make_trainer):
    """Which in a stage may be its own."""
    where = "training.stages: 2: objective"
    assert f"{where}.free_bits" in make_trainer(where=where)._watch.advice
