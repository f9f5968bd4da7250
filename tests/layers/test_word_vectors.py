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


def test_a_new_model_has_random_vectors_and_no_changes(make_model):
    """Others for every seed; what they are is the size of those that are not anchored."""
    tables = [make_model(decoder="gru-anchored", vocab_size=500, seed=seed).decoder.embedding for seed in (0, 1)]
    plain = make_model(decoder="gru", vocab_size=500).decoder.embedding.weight
    for table in tables:
        assert not table.change.weight.any()
        assert torch.equal(table.weight, table.first)
        assert table.first.abs().max() <= 0.1
        assert table.first.std().item() == pytest.approx(plain.std().item(), rel=0.05)
    assert not torch.equal(tables[0].first, tables[1].first)


def test_a_model_of_anchored_vectors_reads_and_writes_by_them(make_model, batch):
    """Encoder, decoder and softmax layer all see first vectors and changes; only these are trained."""
    encoder = {"kind": "recurrent", "embedding_size": 12, "hidden_size": 10, "share_embeddings": True}
    model = make_model(encoder, "gru-anchored")
    plain = make_model(encoder, "gru")
    with torch.no_grad():
        model.decoder.embedding.change.weight.normal_(std=0.1)
        weights = {name: w for name, w in model.state_dict().items() if not name.startswith("decoder.embedding.")}
        plain.load_state_dict(weights | {"decoder.embedding.weight": model.decoder.embedding.weight})
        z = torch.randn(1, 5, 4, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(model.distortion(*batch, z), plain.distortion(*batch, z))
        torch.testing.assert_close(model.encode(*batch).mean, plain.encode(*batch).mean)
    assert "decoder.embedding.change.weight" in dict(model.named_parameters())
    assert "decoder.embedding.first" not in dict(model.named_parameters())


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
