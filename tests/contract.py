"""What the contract tests of all families share: the cases to run, and checks that hold for any part."""

import pytest
import torch
from torch import nn

from textvae import registry
from textvae.hardware import has_bf16_on_cpu
from textvae.modeling import TextVAEModel

needs_bfloat16 = pytest.mark.skipif(not has_bf16_on_cpu(), reason="this processor has no LSTM in bfloat16 (no AVX512)")
# Parts that need a model of transformers: they have contract tests of their own.
PRETRAINED = {"pretrained", "seq2seq"}


def kinds_of_the_package(family: str) -> list[str]:
    """The registered kinds that neither a test has added nor a pretrained model is needed for."""
    parts = registry._PARTS[family]
    kinds = [kind for kind in registry.kinds(family) if parts[kind][0].__module__.startswith("textvae.")]
    return [kind for kind in kinds if kind not in PRETRAINED]


def variants(family: str, named: dict[str, dict]) -> dict[str, dict]:
    """The named configurations, and the defaults of every kind of the package that none of them uses."""
    used = {config["kind"] for config in named.values()}
    return named | {kind: {"kind": kind} for kind in kinds_of_the_package(family) if kind not in used}


def assert_gradient_everywhere(module: nn.Module) -> None:
    """Every parameter has a gradient, and not merely one of rounding errors."""
    without = [name for name, p in module.named_parameters() if p.grad is None or not p.grad.abs().max() > 1e-7]
    assert not without, f"no gradient reaches {without}"


def assert_same_state(one: nn.Module, two: nn.Module) -> None:
    """Equal parameters and equal buffers, also those that a checkpoint does not carry."""
    for mine, other in (
        (dict(one.named_parameters()), dict(two.named_parameters())),
        (dict(one.named_buffers()), dict(two.named_buffers())),
    ):
        assert mine.keys() == other.keys()
        for name, value in mine.items():
            assert torch.equal(value, other[name]), name


def disturbed(model: TextVAEModel) -> TextVAEModel:
    """The same model with every parameter away from its initial value, which a reload could restore by chance."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=generator))
    return model


def reloaded(model: TextVAEModel, folder) -> TextVAEModel:
    """The model after save_pretrained and from_pretrained."""
    model.save_pretrained(folder)
    return TextVAEModel.from_pretrained(folder).eval()
