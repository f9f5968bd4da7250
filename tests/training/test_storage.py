"""Weights in a file: tied ones once, all of them there again."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from textvae.training.storage import load_weights, save_weights


class Tied(nn.Module):
    """A table under two names, an empty buffer, and a weight of the same values in another place."""

    left_out = frozenset()  # of a TextVAEModel: names of weights that are to be had elsewhere

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(7, 3)
        self.head = nn.Linear(3, 7)
        self.head.weight = self.table.weight
        self.other = nn.Parameter(self.table.weight.detach().clone())
        self.register_buffer("nothing", torch.zeros(0))


def test_tied_weights_are_written_once_and_come_back(tmp_path):
    model, copy = Tied(), Tied()
    save_weights(model, tmp_path / "w.safetensors")
    assert set(load_file(tmp_path / "w.safetensors")) == {"table.weight", "head.bias", "other", "nothing"}
    load_weights(copy, tmp_path / "w.safetensors")
    for (name, a), b in zip(model.state_dict().items(), copy.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    assert copy.head.weight is copy.table.weight


def test_a_file_that_lacks_a_weight_or_has_another(tmp_path):
    model = Tied()
    save_weights(model, tmp_path / "w.safetensors")
    weights = load_file(tmp_path / "w.safetensors")
    save_file({name: weight for name, weight in weights.items() if name != "other"}, tmp_path / "less.safetensors")
    with pytest.raises(ValueError, match="the weights lack other"):
        load_weights(model, tmp_path / "less.safetensors")
    save_file(weights | {"more": torch.ones(2)}, tmp_path / "more.safetensors")
    with pytest.raises(ValueError, match="the model has no more"):
        load_weights(model, tmp_path / "more.safetensors")
