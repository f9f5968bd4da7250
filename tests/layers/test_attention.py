"""Attention and transformer blocks against torch's own, and what is ours: rotary positions, slots, the cache."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from transformers import DynamicCache

from textvae.layers.attention import SHORT, Attention, TransformerBlock, attend, is_short
from textvae.layers.rotation import decaying, rotate

B, T, M, H, A = 3, 6, 2, 16, 4
POSITIONS = torch.arange(T)
CAUSAL = torch.ones(T, T, dtype=torch.bool).tril()


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def copy_attention(ours: Attention, theirs: nn.MultiheadAttention) -> None:
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([ours.query.weight, ours.key_value.weight]))
        theirs.in_proj_bias.copy_(torch.cat([ours.query.bias, ours.key_value.bias]))
        theirs.out_proj.load_state_dict(ours.output.state_dict())


@pytest.mark.parametrize("mask", [None, CAUSAL], ids=["open", "causal"])
def test_attention_equals_torch(mask):
    ours, theirs = Attention(H, A, False, 0.0), nn.MultiheadAttention(H, A, batch_first=True)
    copy_attention(ours, theirs)
    x = torch.randn(B, T, H)
    expected = theirs(x, x, x, attn_mask=None if mask is None else ~mask, need_weights=False)[0]
    torch.testing.assert_close(ours(x, mask, POSITIONS), expected)


def test_cross_attention_equals_torch():
    ours, theirs = Attention(H, A, False, 0.0), nn.MultiheadAttention(H, A, batch_first=True)
    copy_attention(ours, theirs)
    x, context = torch.randn(B, T, H), torch.randn(B, M, H)
    expected = theirs(x, context, context, need_weights=False)[0]
    torch.testing.assert_close(ours(x, None, POSITIONS, context=context), expected)


@pytest.mark.parametrize("rotary", [True, False])
def test_attention_by_hand_with_slots(rotary):
    attention = Attention(H, A, rotary, 0.0)
    x, slots = torch.randn(B, T, H), (torch.randn(B, A, M, H // A), torch.randn(B, A, M, H // A))
    mask = torch.cat([torch.ones(T, M, dtype=torch.bool), CAUSAL], 1)
    query, (key, value) = attention.query(x), attention.key_value(x).chunk(2, -1)
    expected = torch.zeros(B, T, H)
    for head in range(A):
        part = slice(head * H // A, (head + 1) * H // A)
        q, k, v = query[..., part], key[..., part], value[..., part]
        if rotary:
            q, k = (rotate(of, POSITIONS, decaying(H // A // 2)) for of in (q, k))
        k, v = torch.cat([slots[0][:, head], k], 1), torch.cat([slots[1][:, head], v], 1)
        scores = (q @ k.transpose(1, 2) / (H // A) ** 0.5).masked_fill(~mask, -torch.inf)
        expected[..., part] = scores.softmax(-1) @ v
    torch.testing.assert_close(attention(x, mask, POSITIONS, slots), attention.output(expected))


@pytest.mark.parametrize("rotary", [True, False])
def test_cache_gives_what_the_whole_sentence_gives(rotary):
    attention, cache = Attention(H, A, rotary, 0.0), DynamicCache()
    x = torch.randn(B, T, H)
    slots = (torch.randn(B, A, M, H // A), torch.randn(B, A, M, H // A))
    whole = attention(x, torch.cat([torch.ones(T, M, dtype=torch.bool), CAUSAL], 1), POSITIONS, slots)
    steps = [attention(x[:, t : t + 1], None, POSITIONS[t : t + 1], slots, cache) for t in range(T)]
    torch.testing.assert_close(torch.cat(steps, 1), whole)


def test_block_equals_torch():
    block = TransformerBlock(H, A, 24, False, 0.0)
    theirs = nn.TransformerEncoderLayer(H, A, 24, 0.0, "gelu", batch_first=True, norm_first=True)
    copy_attention(block.attention, theirs.self_attn)
    for ours, name in (
        (block.attention_norm, "norm1"),
        (block.feedforward_norm, "norm2"),
        (block.feedforward[0], "linear1"),
        (block.feedforward[2], "linear2"),
    ):
        getattr(theirs, name).load_state_dict(ours.state_dict())
    x = torch.randn(B, T, H)
    torch.testing.assert_close(block(x, CAUSAL, POSITIONS), theirs(x, src_mask=~CAUSAL))


def test_block_with_cross_attention_equals_torch():
    block = TransformerBlock(H, A, 24, False, 0.0, cross=True)
    theirs = nn.TransformerDecoderLayer(H, A, 24, 0.0, "gelu", batch_first=True, norm_first=True)
    copy_attention(block.attention, theirs.self_attn)
    copy_attention(block.cross, theirs.multihead_attn)
    for ours, name in (
        (block.attention_norm, "norm1"),
        (block.cross_norm, "norm2"),
        (block.feedforward_norm, "norm3"),
        (block.feedforward[0], "linear1"),
        (block.feedforward[2], "linear2"),
    ):
        getattr(theirs, name).load_state_dict(ours.state_dict())
    x, context = torch.randn(B, T, H), torch.randn(B, M, H)
    torch.testing.assert_close(block(x, CAUSAL, POSITIONS, context=context), theirs(x, context, tgt_mask=~CAUSAL))


def test_dropout_in_training_only():
    block, x = TransformerBlock(H, A, 24, True, 0.5), torch.randn(B, T, H)
    assert not torch.equal(block(x, CAUSAL, POSITIONS), block(x, CAUSAL, POSITIONS))
    block.eval()
    assert torch.equal(block(x, CAUSAL, POSITIONS), block(x, CAUSAL, POSITIONS))


# ---- Short texts ----

MASKS = {
    "all": {},
    "causal": {"is_causal": True},
    "padding": {"mask": torch.tensor([[True] * 7, [True] * 4 + [False] * 3])[:, None, None]},
    "added": {"mask": torch.linspace(-2, 2, 49).view(1, 1, 7, 7)},
}


def drawn(dtype, keys=7):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, 3, n, 8, generator=generator).to(dtype).requires_grad_() for n in (7, keys, keys)]


@pytest.mark.parametrize("mask", MASKS)
def test_plain_products_equal_torch_s_attention(mask):
    """Values and gradients, within the rounding of bfloat16."""
    options = {name: value.to(torch.bfloat16) if mask == "added" else value for name, value in MASKS[mask].items()}
    plain, torchs = drawn(torch.bfloat16), drawn(torch.float32)
    assert is_short(plain[0], plain[1])
    ours = attend(*plain, **options)
    names = {"mask": "attn_mask"}
    theirs = F.scaled_dot_product_attention(*torchs, **{names.get(k, k): v for k, v in MASKS[mask].items()})
    torch.testing.assert_close(ours.float(), theirs, rtol=0.02, atol=0.02)
    ours.float().square().sum().backward()
    theirs.square().sum().backward()
    for a, b in zip(plain, torchs, strict=True):
        torch.testing.assert_close(a.grad.float(), b.grad, rtol=0.05, atol=0.1)


def test_what_is_short():
    """In bfloat16, by itself or by autocast, and few keys."""
    assert not is_short(*drawn(torch.float32)[:2])
    assert not is_short(*drawn(torch.bfloat16, SHORT + 1)[:2])
    with torch.autocast("cpu", torch.bfloat16):
        assert is_short(*drawn(torch.float32)[:2])
    with torch.autocast("cpu", torch.float16):
        assert not is_short(*drawn(torch.float32)[:2])


def test_dropout_leaves_the_mean():
    query, key, value = (x.detach() for x in drawn(torch.bfloat16))
    torch.manual_seed(0)
    many = torch.stack([attend(query, key, value, dropout=0.5) for _ in range(2000)]).float().mean(0)
    torch.testing.assert_close(many, attend(query, key, value).float(), rtol=0.1, atol=0.1)
    assert not torch.equal(attend(query, key, value, dropout=0.5), attend(query, key, value))
