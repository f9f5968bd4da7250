"""Word vectors that begin as pretrained ones."""

import pytest
import torch

from textvae.layers.word_vectors import AnchoredEmbedding

V, H = 60, 9


@pytest.fixture
def pretrained():
    """Vectors with a mean, and with directions of very different size, one of them empty."""
    random = torch.Generator().manual_seed(0)
    sizes = torch.tensor([5.0, 3, 2, 1, 1, 0.5, 0.2, 0.1, 0])
    return torch.randn(V, H, generator=random) * sizes @ torch.linalg.qr(torch.randn(H, H, generator=random))[0] + 4


@pytest.mark.parametrize("size", [4, 8, 9, 12])
def test_first_vectors_are_the_largest_components_whitened(pretrained, size):
    table = AnchoredEmbedding(V, size)
    std = table.first.std().item()
    table.begin_from(pretrained)
    first = table.first
    real = min(size, 8)
    variances = torch.diag((torch.arange(size) < real) * std**2)
    torch.testing.assert_close(first.t() @ first / V, variances, atol=1e-6, rtol=0)
    # The largest components: what a fit of as many directions to the centred vectors explains.
    centred = pretrained - pretrained.mean(0)
    fitted = first[:, :real] @ torch.linalg.lstsq(first[:, :real], centred).solution
    left = (centred - fitted).square().sum()
    torch.testing.assert_close(left, torch.linalg.svdvals(centred)[real:].square().sum(), atol=1e-3, rtol=1e-3)
    assert torch.equal(table.weight, first)


def test_decay_draws_to_what_was_first(pretrained):
    table = AnchoredEmbedding(V, 4)
    table.begin_from(pretrained)
    torch.nn.init.ones_(table.change.weight)
    first = table.first.clone()
    optimizer = torch.optim.AdamW(table.parameters(), lr=0.1, weight_decay=0.5)
    (0 * table.weight).sum().backward()
    for _ in range(3):
        optimizer.step()
    torch.testing.assert_close(table.weight, first + 0.95**3)


def test_a_lookup_is_a_row_of_the_table(pretrained):
    table = AnchoredEmbedding(V, 4)
    table.begin_from(pretrained)
    torch.nn.init.normal_(table.change.weight)
    ids = torch.tensor([[3, 59], [0, 3]])
    assert torch.equal(table(ids), table.weight[ids])
    assert set(table.state_dict()) == {"change.weight", "first"}
