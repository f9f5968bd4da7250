"""Attention of pretrained parts: what transformers computes, by plain products where texts are short."""

import pytest
import torch
from transformers import AutoModel, AutoModelForCausalLM

from tests.pretrained import DECODERS, ENCODERS
from textvae import weights
from textvae.layers import pretrained
from textvae.layers.pretrained import ATTENTION, attention

MODELS = {f"decoder-{name}": (AutoModelForCausalLM, architecture) for name, architecture in DECODERS.items()}
MODELS |= {f"encoder-{name}": (AutoModel, architecture) for name, architecture in ENCODERS.items()}


def test_what_sdpa_refuses_is_refused():
    """Where plain products would leave it out."""
    layer, states = torch.nn.Module(), torch.randn(1, 2, 4, 8, dtype=torch.bfloat16)
    attention(layer, states, states, states, None)
    with pytest.raises(ValueError, match="softcap"):
        attention(layer, states, states, states, None, softcap=2.0)


@pytest.mark.parametrize("name", MODELS)
def test_attention_equals_sdpa(name, monkeypatch):
    """With padding and without, whole and step by step, in bfloat16."""
    loader, architecture = MODELS[name]
    torch.manual_seed(0)
    model = loader.from_config(weights.configuration(architecture)).eval().bfloat16()
    if model.config._attn_implementation != "sdpa":
        pytest.skip("this family has no sdpa")
    model = model.get_encoder() if model.config.is_encoder_decoder else model
    ids = torch.arange(3, 19).view(2, 8)
    mask = torch.ones(2, 8, dtype=torch.long)
    mask[1, 5:] = 0

    def results():
        found = [model(ids)[0], model(ids, attention_mask=mask)[0][mask.bool()]]
        if name.startswith("decoder"):
            first = model(ids[:, :4], use_cache=True)
            found.append(model(ids[:, 4:5], past_key_values=first.past_key_values)[0])
        return found

    theirs, calls = results(), []
    attend = pretrained.attend
    monkeypatch.setattr(pretrained, "attend", lambda *given: calls.append(1) or attend(*given))
    model.set_attn_implementation(ATTENTION)
    for ours, expected in zip(results(), theirs, strict=True):
        torch.testing.assert_close(ours, expected, rtol=0.03, atol=0.03)
    assert bool(calls) == ("t5" not in name)  # whose bias of positions plain sdpa takes
