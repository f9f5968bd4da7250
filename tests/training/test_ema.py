"""Averaged weights."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from textvae.training.ema import WeightAverage


def walk(model, steps, seed=0):
    """Moves the weights at random; yields after each move."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        with torch.no_grad():
            for p in model.parameters():
                p += torch.randn(p.shape, generator=generator).to(p.dtype)
        yield


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_equals_a_loop(decay, dtype):
    """In float32 whatever the dtype of the weights; the decay rises to its value."""
    model = nn.Linear(3, 2).to(dtype)
    average = WeightAverage(model, decay)
    expected = {name: p.detach().double().clone() for name, p in model.named_parameters()}
    for step, _ in enumerate(walk(model, 50), 1):
        average.update()
        keep = min(decay, (1 + step) / (10 + step))
        for name, p in model.named_parameters():
            expected[name] = keep * expected[name] + (1 - keep) * p.detach().double()
    for name, value in average.average.items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value.double(), expected[name], atol=1e-4, rtol=1e-4)


def test_no_decay_is_the_last_weights():
    model = nn.Linear(3, 2)
    average = WeightAverage(model, 0.0)
    for _ in walk(model, 3):
        average.update()
    torch.testing.assert_close(average.average["weight"], model.weight.detach())


def test_applied_and_taken_back():
    model = nn.Linear(3, 2)
    average = WeightAverage(model, 0.9)
    for _ in walk(model, 5):
        average.update()
    own = model.weight.detach().clone()
    with average.applied():
        assert torch.equal(model.weight, average.average["weight"])
        assert not torch.equal(model.weight, own)
    assert torch.equal(model.weight, own)
    with pytest.raises(RuntimeError), average.applied():
        raise RuntimeError
    assert torch.equal(model.weight, own)


def test_frozen_parameters_are_left_alone():
    model = nn.Linear(3, 2)
    model.bias.requires_grad_(False)
    average = WeightAverage(model, 0.9)
    assert set(average.average) == {"weight"}
    bias = model.bias.clone()
    with average.applied():
        assert torch.equal(model.bias, bias)


def test_goes_on_from_a_file(tmp_path):
    model, other = nn.Linear(3, 2), nn.Linear(3, 2)
    average = WeightAverage(model, 0.9)
    for _ in walk(model, 4):
        average.update()
    save_file(average.state_dict(), tmp_path / "ema.safetensors")
    other.load_state_dict(model.state_dict())
    resumed = WeightAverage(other, 0.9)
    state = load_file(tmp_path / "ema.safetensors")
    resumed.load_state_dict(state)
    assert "updates" in state
    assert resumed.updates == 4
    for one, copy in ((average, model), (resumed, other)):
        for _ in walk(copy, 20, seed=1):
            one.update()
    for name, value in average.average.items():
        assert torch.equal(value, resumed.average[name])
