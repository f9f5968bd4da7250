"""The encoder of docs/extending.md is one."""

import re
import sys
import types
from pathlib import Path

import pytest
import torch

from tests.contract import assert_gradient_everywhere, assert_same_state, disturbed, reloaded
from textvae import registry

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"


@pytest.fixture
def model(make_model, monkeypatch):
    registry.kinds("encoder")  # so that the others are there before
    parts = dict(registry._PARTS["encoder"])
    monkeypatch.setitem(registry._PARTS, "encoder", parts)
    module = types.ModuleType("trigrams")
    monkeypatch.setitem(sys.modules, "trigrams", module)
    exec(re.search("```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[1], module.__dict__)
    assert "trigrams" in parts
    return disturbed(make_model(encoder={"kind": "trigrams", "embedding_size": 8}))


def test_contract(model, batch, tmp_path):
    ids, mask = batch
    summary = model.encoder(ids, mask)
    assert summary.shape == (len(ids), model.encoder.output_size)
    for row, length in enumerate(mask.sum(1)):  # padding has no effect
        alone = model.encoder(ids[row : row + 1, :length], mask[row : row + 1, :length])
        torch.testing.assert_close(alone[0], summary[row], rtol=1e-4, atol=1e-5)
    whole = torch.ones(1, 5, dtype=torch.long)
    one, two = (model.encoder(torch.tensor([words]), whole) for words in ([1, 6, 7, 8, 2], [1, 8, 6, 7, 2]))
    assert (one - two).abs().max() > 1e-3
    (summary * torch.randn(summary.shape, generator=torch.Generator().manual_seed(0))).sum().backward()
    assert_gradient_everywhere(model.encoder)
    assert_same_state(model.encoder, reloaded(model, tmp_path).encoder)
