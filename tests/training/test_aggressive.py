"""Aggressive training: who moves when, when it stops, and when it ends for good."""

from itertools import islice

import pytest
import torch

from tests.tiny import tiny_recipe, train_tiny
from tests.training.test_trainer import make_trainer, sentences, weights  # noqa: F401 - fixtures
from textvae.evaluation.latent import latent_information
from textvae.evaluation.likelihood import evaluate_bound
from textvae.objectives import ElboConfig, Objective
from textvae.outputs import ObjectiveOutput
from textvae.training import aggressive
from textvae.training.aggressive import is_aggressive, sides


@pytest.mark.parametrize(
    ("values", "expected"),
    [([], True), ([1.0], True), ([1.0, 2.0, 2.5], True), ([1.0, 2.0, 2.0], False), ([2.0, 1.0, 3.0, 4.0], False)],
)
def test_it_ends_for_good_when_information_no_longer_rises(values, expected):
    history = [row for value in values for row in ({"loss": 1.0}, {"eval_mutual_information": value, "step": 1})]
    assert is_aggressive(history) == expected


def test_every_parameter_is_on_one_side(make_trainer):  # noqa: F811
    model = make_trainer().model
    inner, outer = sides(model)
    assert {id(p) for p in inner} == {id(p) for part in (model.encoder, model.posterior) for p in part.parameters()}
    assert {id(p) for p in inner + outer} == {id(p) for p in model.parameters()}
    assert len(inner) + len(outer) == len(list(model.parameters()))


def test_the_encoder_is_trained_as_in_training_after_an_evaluation(make_trainer, monkeypatch):  # noqa: F811
    """With dropout, and with the statistics of the batch: the logging of reconstructions leaves the model otherwise."""
    modes = []
    prepare = aggressive.inner_batches
    monkeypatch.setattr(aggressive, "is_aggressive", lambda history: True)
    monkeypatch.setattr("textvae.training.trainer.is_aggressive", lambda history: True)
    monkeypatch.setattr(
        aggressive, "inner_batches", lambda trainer: (modes.append(trainer.model.training), prepare(trainer))[1]
    )
    options = {"eval_strategy": "steps", "eval_steps": 1, "log_reconstructions": 2, "per_device_train_batch_size": 8}
    make_trainer(aggressive=True, max_steps=3, **options).train()
    assert modes == [True] * 3


class Watch(aggressive.nn.Identity):
    """Notes which side has moved, before and after the update of the decoder."""

    def __init__(self, monkeypatch):
        super().__init__()
        self.moved, self.counts = [], []
        train_encoder = aggressive.train_encoder

        def watched(trainer):
            before = weights(trainer.model)
            self.counts.append(train_encoder(trainer))
            self.after = weights(trainer.model)
            self.note(before, self.after)
            return self.counts[-1]

        monkeypatch.setattr("textvae.training.trainer.train_encoder", watched)

    def note(self, before, after):
        parts = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
        self.moved.append(parts)


def test_the_encoder_moves_before_the_update_and_the_rest_in_it(make_trainer, monkeypatch):  # noqa: F811
    watch = Watch(monkeypatch)

    class Noting(type(make_trainer())):
        def after_update(self):
            watch.note(watch.after, weights(self.model))
            super().after_update()

    trainer = make_trainer(
        cls=Noting, aggressive=True, max_steps=3, per_device_train_batch_size=10, learning_rate=1e-2, logging_steps=1,
        eval_strategy="steps", eval_steps=3,
    )  # fmt: skip
    trainer.train()
    assert watch.moved == [{"encoder", "posterior"}, {"decoder"}] * 3
    logged = [row["inner_updates"] for row in trainer.state.log_history if "inner_updates" in row]
    assert logged == pytest.approx(watch.counts)


def test_each_update_has_batches_of_its_own(make_trainer):  # noqa: F811
    """Of the encoder: others than before the update before, and than those of the decoder."""
    trainer = make_trainer(aggressive=True, per_device_train_batch_size=4, eval_strategy="steps", eval_steps=4)

    def texts(step):
        trainer.state.global_step = step
        return [row["text"] for rows in islice(aggressive.inner_batches(trainer), 6) for row in rows]

    sampler = trainer._get_train_sampler()
    orders = [texts(0), texts(1), [trainer.train_dataset[number]["text"] for number in sampler]]
    assert len({tuple(order) for order in orders}) == 3
    assert all(sorted(order) == sorted(orders[0]) for order in orders)
    assert texts(0) == orders[0]


def test_it_stops_when_the_encoder_gains_nothing(make_trainer, monkeypatch):  # noqa: F811
    """With a learning rate of next to nothing, one window's loss is as good as the next one's."""
    monkeypatch.setattr(aggressive, "LOOK_EVERY", 2)
    monkeypatch.setattr(aggressive, "MOST", 40)
    watch = Watch(monkeypatch)
    options = {"learning_rate": 1e-12, "eval_strategy": "steps", "eval_steps": 4}
    make_trainer(aggressive=True, max_steps=4, per_device_train_batch_size=8, **options).train()
    assert min(watch.counts) < 12
    assert min(watch.counts) >= 4  # the first window has nothing to be compared with


def test_it_ends_at_an_evaluation(make_trainer, monkeypatch):  # noqa: F811
    watch = Watch(monkeypatch)
    values = iter([1.0, 2.0, 1.5, 3.0, 4.0])
    monkeypatch.setattr(
        "textvae.training.trainer.latent_information", lambda bound: {"mutual_information": next(values)}
    )
    trainer = make_trainer(
        aggressive=True, max_steps=5, per_device_train_batch_size=8, eval_strategy="steps", eval_steps=1
    )
    trainer.train()
    assert len(watch.counts) == 3
    assert not trainer.aggressive


def test_information_is_that_of_the_averaged_weights(make_trainer):  # noqa: F811
    """Also where a posterior's density is looked at only then, as that of a flow is."""
    pytest.importorskip("zuko", reason="the extra flows is not installed")
    options = {"ema_decay": 0.999, "per_device_train_batch_size": 8, "log_reconstructions": 0}
    trainer = make_trainer(aggressive=True, posterior="flow", eval_strategy="steps", eval_steps=4, **options)
    trainer.train()
    with torch.no_grad():
        for weight in trainer.model.posterior.parameters():
            weight.add_(0.3 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)))
    with trainer.weights():
        expected = latent_information(evaluate_bound(trainer.model, trainer.eval_dataset, bf16=False))
    found = trainer.evaluate()["eval_mutual_information"]
    assert found == pytest.approx(expected["mutual_information"], abs=1e-6)
    with torch.no_grad():  # not those of the moment
        other = latent_information(evaluate_bound(trainer.model, trainer.eval_dataset, bf16=False))
    assert abs(found - other["mutual_information"]) > 1e-3


def test_needs_a_posterior(make_trainer):  # noqa: F811
    with pytest.raises(ValueError, match=r"training\.aggressive: true needs a posterior with a density"):
        make_trainer(aggressive=True, posterior="deterministic")


def test_a_language_model_has_no_encoder_to_train_ahead(make_trainer):  # noqa: F811
    trainer = make_trainer(aggressive=True, latent_size=0)
    trainer.train()
    assert trainer.state.global_step == 4
    assert not any("inner_updates" in row for row in trainer.state.log_history)


class Scripted(Objective):
    """A loss that is prescribed, whatever the model says; it has a gradient all the same."""

    def __init__(self, values):
        super().__init__(ElboConfig())
        self.values = iter(values)

    def forward(self, output, progress):
        told = output.distortion.mean() + output.rate.mean()
        return ObjectiveOutput(told - told.detach() + next(self.values), 1.0)


@pytest.mark.parametrize(
    ("losses", "updates"),
    [
        ([9, 9, 5, 5, 6, 6, 1, 1], 6),  # worse than the window before, better than all before
        ([9, 5, 6, 4, 5, 5, 1, 1], 6),  # no better is enough
        ([9, 8, 7, 6], 4),  # at most MOST
    ],
)
def test_each_window_is_held_against_the_one_before(make_trainer, monkeypatch, losses, updates):  # noqa: F811
    """Every batch is the whole corpus, so that a loss is one a token but for a factor."""
    monkeypatch.setattr(aggressive, "LOOK_EVERY", 2)
    monkeypatch.setattr(aggressive, "MOST", len(losses))
    trainer = make_trainer(max_steps=1)
    trainer.train()
    trainer.objective = Scripted(losses)
    assert aggressive.train_encoder(trainer) == updates


def test_gradients_of_the_encoder_are_clipped(make_trainer, monkeypatch):  # noqa: F811
    """By its own norm; 0 turns it off."""
    monkeypatch.setattr(aggressive, "MOST", 1)
    moved = []
    for norm in (0.01, 0.0):
        options = {"optim": "sgd", "lr_scheduler_type": "constant", "learning_rate": 0.1, "max_grad_norm": norm}
        trainer = make_trainer(max_steps=1, **options)
        trainer.train()
        before = weights(trainer.model)
        aggressive.train_encoder(trainer)
        after = weights(trainer.model)
        moved.append(float(torch.stack([(after[name] - before[name]).norm() for name in before]).norm()))
    assert moved[0] == pytest.approx(0.001, rel=1e-2)
    assert moved[1] > 0.002


def test_z_tells_more_after_as_many_updates(corpus_file, tmp_path, monkeypatch):
    """What it is for: an encoder that is ahead of its decoder."""
    monkeypatch.setattr(aggressive, "MOST", 5)
    rates = []
    for ahead in ("false", "true"):
        settings = [f"training.aggressive={ahead}", "training.max_steps=40", "training.eval_steps=20"]
        run = train_tiny(tiny_recipe(corpus_file, tmp_path / ahead, *settings, "training.ema_decay=0"))
        rates.append(run.metrics["rate"])
    assert rates[1] > 1.2 * rates[0]
