"""The Lagrangian on the rate: against the solution of a problem in one variable, and on a corpus."""

import math

import pytest
import torch

from tests.tiny import tiny_recipe, train_tiny
from textvae import registry
from textvae.outputs import TextVAEOutput

A = 20.0  # distortion = A exp(-rate / 10): without a constraint the sum with the rate is least at rate 10 log 2


def solve(constraint, target, updates=2000):
    """Gradient descent on the rate of three sentences, ascent on the multiplier."""
    config = {"kind": "target_rate", "rate": target, "constraint": constraint}
    objective = registry.build("objective", config | {"multiplier_learning_rate": 0.1})
    theta = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    optimizer = torch.optim.SGD([theta], lr=1.0)
    for _ in range(updates):
        rate = theta.mean().expand(3)
        output = TextVAEOutput(q=object(), distortion=A * (-rate / 10).exp()[None], rate=rate)
        optimizer.zero_grad()
        result = objective(output, 0.0)
        result.loss.backward()
        optimizer.step()
        objective.after_step(rate.mean())
    return theta.mean().item(), result, objective


@pytest.mark.parametrize(
    ("constraint", "target", "rate"),
    [
        ("at_least", 12.0, 12.0),
        ("equal", 12.0, 12.0),
        ("at_least", 3.0, 10 * math.log(2)),  # met without any help
        ("equal", 3.0, 3.0),
    ],
)
def test_saddle_point(constraint, target, rate):
    """There beta is minus the slope of the distortion."""
    found, result, objective = solve(constraint, target)
    assert found == pytest.approx(rate, rel=0.01)
    beta = A / 10 * math.exp(-rate / 10)
    assert result.beta == pytest.approx(beta, abs=0.01)
    assert float(result.logs["multiplier"]) == pytest.approx(1 - beta, abs=0.01)
    assert objective.training_rate.item() == pytest.approx(rate, rel=0.01)


def test_value_and_ascent():
    objective = registry.build("objective", {"kind": "target_rate", "rate": 5.0, "multiplier_learning_rate": 0.1})
    objective.multiplier.fill_(0.25)
    rate = torch.tensor([2.0, 4.0])
    output = TextVAEOutput(q=object(), distortion=torch.full((1, 2), 30.0), rate=rate)
    assert objective(output, 0.0).loss.item() == pytest.approx(30 + 3 - 0.25 * (3 - 5))
    objective.after_step(torch.tensor(6.0))
    assert objective.multiplier.item() == pytest.approx(0.25 + 0.1 * (5 - 6) / 5)
    objective.after_step(torch.tensor(99.0))
    assert objective.multiplier.item() == pytest.approx(0.23 - 0.1)  # a step at most
    for _ in range(2):
        objective.after_step(torch.tensor(99.0))
    assert objective.multiplier.item() == 0  # at_least
    for _ in range(10):
        objective.after_step(torch.tensor(0.0))
    assert objective.multiplier.item() == 1


@pytest.mark.parametrize(("validation", "target"), [(6.0, 5.0), (4.0, 7.5), (8.0, 3.75), (0.0, 10.0), (60.0, 2.5)])
def test_the_target_of_training_follows_the_ratio_to_validation(validation, target):
    """Of at most two, or a half."""
    objective = registry.build("objective", {"kind": "target_rate", "rate": 5.0})
    objective.after_step(torch.tensor(6.0))
    objective.after_evaluation(validation)
    assert objective.target.item() == pytest.approx(target)


@pytest.mark.parametrize(
    ("constraint", "allowed"), [("at_least", [False, True, True, True]), ("equal", [False, True, True, False])]
)
def test_feasible(constraint, allowed):
    objective = registry.build("objective", {"kind": "target_rate", "rate": 8.0, "constraint": constraint})
    assert [objective.feasible(rate) for rate in (7.5, 7.7, 8.3, 8.5)] == allowed


@pytest.mark.parametrize("rate", [2.0, 4.0])
def test_rate_of_validation(corpus_file, tmp_path, rate):
    """Training reads words through dropout, so that its rate is another than that of validation."""
    recipe = tiny_recipe(corpus_file, tmp_path / "run", "training.max_steps=300", "model.encoder.dropout=0.4")
    recipe.objective = registry.resolve(
        "objective", {"kind": "target_rate", "rate": rate, "constraint": "equal"}, "objective"
    )
    run = train_tiny(recipe)
    assert run.metrics["rate"] == pytest.approx(rate, rel=0.05)


def test_another_rate_is_asked_for_at_once_in_a_resumed_training():
    old, new = (registry.build("objective", {"kind": "target_rate", "rate": rate}) for rate in (4.0, 8.0))
    old.after_step(torch.tensor(6.0))
    old.after_evaluation(4.0)
    new.load_state_dict(old.state_dict())
    assert new.target.item() == pytest.approx(12.0)
