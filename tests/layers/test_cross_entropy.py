"""token_nll against torch's cross entropy, in value and in every gradient."""

import pytest
import torch
import torch.nn.functional as F

from textvae.layers import cross_entropy
from textvae.layers.cross_entropy import token_nll

V, E, CHUNK = 50, 16, 64
INCOMING = {
    "uniform": lambda n: torch.ones(n),
    "random": lambda n: torch.randn(n, generator=torch.Generator().manual_seed(5)),
    "partly zero": lambda n: torch.arange(n).remainder(3).float(),
}


@pytest.fixture(autouse=True, params=["held", "computed anew", "as on an accelerator"])
def path(request, monkeypatch):
    """Small chunks, both ways to the gradient of the softmax layer, and both to the softmax."""
    monkeypatch.setitem(cross_entropy.LOGITS_AT_ONCE, "cpu", CHUNK * V)
    if request.param == "as on an accelerator":
        monkeypatch.setattr(cross_entropy, "ONE_EXPONENTIAL", set())
    if request.param == "computed anew":
        monkeypatch.setattr(cross_entropy, "RESIDUALS_HELD", 0)


def problem(n: int, scale: float = 1.0):
    generator = torch.Generator().manual_seed(n)
    features = (scale * torch.randn(n, E, generator=generator)).requires_grad_()
    weight = torch.randn(V, E, generator=generator).requires_grad_()
    bias = torch.randn(V, generator=generator).requires_grad_()
    return features, weight, bias, torch.randint(V, (n,), generator=generator)


def reference(features, weight, bias, targets):
    return F.cross_entropy(F.linear(features, weight, bias), targets, reduction="none")


def gradients(function, n, incoming, autocast=False):
    features, weight, bias, targets = problem(n)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        nll = function(features, weight, bias, targets)
    return nll.detach(), *torch.autograd.grad(nll, (features, weight, bias), incoming.to(nll.dtype))


@pytest.mark.parametrize("incoming", INCOMING)
@pytest.mark.parametrize("n", [0, 1, 7, CHUNK, CHUNK + 1, 3 * CHUNK - 5])
def test_value_and_gradients(n, incoming):
    weights = INCOMING[incoming](n)
    ours, theirs = gradients(token_nll, n, weights), gradients(reference, n, weights)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("n", [3, CHUNK + 20])
def test_autocast(n):
    weights = INCOMING["random"](n)
    ours, exact = gradients(token_nll, n, weights, autocast=True), gradients(reference, n, weights)
    for a, b in zip(ours, exact, strict=True):
        assert a.dtype == torch.float32
        assert (a - b).norm() < 0.02 * b.norm()


@pytest.mark.parametrize("frozen", [False, True])
def test_a_mean_keeps_its_scale_in_bfloat16(frozen):
    """Which has no 1.3: rounded, it is 1.297, and the whole gradient of the words would be too small beside others."""
    features, weight, bias, targets = problem(3 * CHUNK)
    args = [features, weight.detach(), bias.detach()] if frozen else [features, weight, bias]
    found = []
    for incoming in (1.0, 1.3):
        with torch.autocast("cpu", torch.bfloat16):
            nll = token_nll(*args, targets)
        found.append(torch.autograd.grad(nll, args[:1] if frozen else args, torch.full_like(nll, incoming)))
    for one, more in zip(*found, strict=True):
        assert float((one * more).sum() / one.square().sum()) == pytest.approx(1.3, rel=1.5e-3)


def test_small_probabilities_have_a_gradient_in_float16():
    """Scaled up as the loss is, before they are rounded."""
    features, weight, bias, targets = problem(3 * CHUNK)
    targets = targets % (V // 2)
    bias = torch.cat([bias.detach()[: V // 2], torch.full((V - V // 2,), -18.0)]).requires_grad_()
    weight = (0.1 * weight).detach().requires_grad_()
    incoming = torch.full((len(targets),), 4096.0)
    with torch.autocast("cpu", torch.float16):
        ours = torch.autograd.grad(token_nll(features, weight, bias, targets), bias, incoming)[0]
    exact = torch.autograd.grad(reference(features, weight, bias, targets), bias, incoming)[0]
    torch.testing.assert_close(ours[V // 2 :], exact[V // 2 :], rtol=0.05, atol=0)


def test_extreme_logits():
    args = problem(20, scale=1e4)
    torch.testing.assert_close(token_nll(*args), reference(*args), rtol=1e-5, atol=1e-2)


@pytest.mark.parametrize("needed", [0, 1, 2])
def test_gradient_of_one_input_alone(needed):
    args = problem(9)
    for index, tensor in enumerate(args[:3]):
        tensor.requires_grad_(index == needed)
    ours, theirs = (
        torch.autograd.grad(function(*args).square().sum(), args[needed])[0] for function in (token_nll, reference)
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_a_softmax_layer_that_is_not_trained():
    """The gradient of the features is the same, and nothing of the size of the logits is held for it."""
    features, weight, bias, targets = problem(3 * CHUNK + 5)
    incoming = INCOMING["random"](len(features))
    expected = torch.autograd.grad(reference(features, weight, bias, targets), features, incoming)[0]
    held = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: held.append(x.numel()) or x, lambda x: x):
        nll = token_nll(features, weight.detach(), None, targets)
        exact = reference(features, weight.detach(), torch.zeros(V), targets)
        torch.testing.assert_close(nll, exact, rtol=1e-4, atol=1e-5)
        held.clear()
        nll = token_nll(features, weight.detach(), bias.detach(), targets)
    torch.testing.assert_close(torch.autograd.grad(nll, features, incoming)[0], expected, rtol=1e-4, atol=1e-5)
    assert max(held) < len(features) * V


def test_without_gradients():
    args = problem(CHUNK + 3)
    with torch.no_grad():
        nll = token_nll(*args)
    assert not nll.requires_grad
    torch.testing.assert_close(nll, reference(*args).detach(), rtol=1e-4, atol=1e-5)


def test_tied_weight_gets_both_gradients():
    """The table is the word vectors and the softmax layer at once."""
    table = torch.randn(V, E, generator=torch.Generator().manual_seed(0)).requires_grad_()
    ids, targets = torch.arange(10), torch.arange(10, 20)
    ours, theirs = (
        torch.autograd.grad(function(F.embedding(ids, table), table, torch.zeros(V), targets).sum(), table)[0]
        for function in (token_nll, reference)
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("frozen", [False, True])
def test_softcap(frozen):
    """Logits held within bounds, as Gemma 2 holds them, in value and gradient."""
    features, weight, bias, targets = problem(CHUNK + 9)
    incoming = INCOMING["random"](len(features))
    wanted = [features] if frozen else [features, weight, bias]
    args = [features, weight.detach(), bias.detach()] if frozen else [features, weight, bias]
    ours = token_nll(*args, targets, softcap=3.0)
    logits = 3.0 * torch.tanh(F.linear(*args) / 3.0)
    theirs = F.cross_entropy(logits, targets, reduction="none")
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    for a, b in zip(*(torch.autograd.grad(nll, wanted, incoming) for nll in (ours, theirs)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


def test_a_frozen_layer_under_autocast():
    features, weight, bias, targets = problem(CHUNK + 9)
    incoming = INCOMING["random"](len(features))
    with torch.autocast("cpu", torch.bfloat16):
        ours = token_nll(features, weight.detach(), bias.detach(), targets)
    exact = reference(features, weight, bias, targets)
    a, b = (torch.autograd.grad(nll, features, incoming)[0] for nll in (ours, exact))
    assert (a - b).norm() < 0.02 * b.norm()


def test_nothing_is_computed_for_a_gradient_that_nobody_wants(monkeypatch):
    monkeypatch.setattr(cross_entropy, "_residual", lambda *_: pytest.fail("a residual"))
    args = problem(CHUNK + 3)
    with torch.no_grad():
        torch.testing.assert_close(token_nll(*args), reference(*args), rtol=1e-4, atol=1e-5)
