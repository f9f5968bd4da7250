"""The training step that tutorials teach, for comparison by benchmark.py: plain torch, float32, every logit in memory.

Models of the same shape as textvae's presets, with its weights, so that both give the same loss on the same batch.
Shapes: B sentences, T tokens, D latent dimensions, H features, V vocabulary.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PlainVAE(nn.Module):
    """Embeddings, encoder, z, decoder, log_softmax over all positions, padding included.

    Args:
        config: a TextVAEConfig of one of the presets.
    """

    def __init__(self, config):
        super().__init__()
        encoder, decoder = config.encoder, config.decoder
        size, latent = decoder["hidden_size"], config.latent_size
        self.scale, self.kind, self.pad = size**0.5, decoder["kind"], config.pad_token_id
        self.source = nn.Embedding(config.vocab_size, size)
        self.target = nn.Embedding(config.vocab_size, size)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))
        self.mu, self.logvar = nn.Linear(size, latent), nn.Linear(size, latent)
        if self.kind == "recurrent":
            cell = {"gru": nn.GRU, "lstm": nn.LSTM}[decoder["cell"]]
            self.lstm = decoder["cell"] == "lstm"
            self.encoder = cell(size, size, batch_first=True)
            self.decoder = cell(size + latent, size, batch_first=True)
            self.initial = nn.Linear(latent, size)
        else:
            self.encoder = _blocks(encoder["num_layers"], size, encoder["num_heads"])
            self.decoder = _blocks(decoder["num_layers"], size, decoder["num_heads"])
            self.source_positions = nn.Embedding(encoder["max_positions"], size)
            self.target_positions = nn.Embedding(decoder["max_positions"], size)
            self.latent = nn.Linear(latent, size, bias=False)
            self.projection = nn.Linear(size, size)

    def take_weights(self, model) -> None:
        """Copies the weights of a TextVAEModel of the same preset."""
        theirs = dict(model.state_dict())
        pairs = {
            "source.weight": "encoder.embedding.weight",
            "target.weight": "decoder.embedding.weight",
            "bias": "decoder.softmax_bias",
        }
        pairs |= {
            f"{head}.{part}": f"posterior.{head}.{part}" for head in ("mu", "logvar") for part in ("weight", "bias")
        }
        if self.kind == "recurrent":
            for name in self.encoder.state_dict():
                pairs[f"encoder.{name}"] = f"encoder.forwards.0.{name}"
                pairs[f"decoder.{name}"] = f"decoder.layers.0.{name}"
            pairs |= {f"initial.{part}": f"decoder.initial.{part}" for part in ("weight", "bias")}
        else:
            pairs |= {
                "source_positions.weight": "encoder.position_embedding.weight",
                "target_positions.weight": "decoder.position_embedding.weight",
                "latent.weight": "decoder.latent_embedding.weight",
                "projection.weight": "decoder.projection.weight",
                "projection.bias": "decoder.projection.bias",
            }
            for side in ("encoder", "decoder"):
                for part in ("weight", "bias"):
                    pairs[f"{side}.norm.{part}"] = f"{side}.norm.{part}"
                    for layer in range(len(getattr(self, side).layers)):
                        ours, block = f"{side}.layers.{layer}", f"{side}.blocks.{layer}"
                        theirs[f"{block}.in_{part}"] = torch.cat(
                            [theirs[f"{block}.attention.{name}.{part}"] for name in ("query", "key_value")]
                        )
                        pairs |= {
                            f"{ours}.self_attn.in_proj_{part}": f"{block}.in_{part}",
                            f"{ours}.self_attn.out_proj.{part}": f"{block}.attention.output.{part}",
                            f"{ours}.linear1.{part}": f"{block}.feedforward.0.{part}",
                            f"{ours}.linear2.{part}": f"{block}.feedforward.2.{part}",
                            f"{ours}.norm1.{part}": f"{block}.attention_norm.{part}",
                            f"{ours}.norm2.{part}": f"{block}.feedforward_norm.{part}",
                        }
        self.load_state_dict({name: theirs[their_name] for name, their_name in pairs.items()})

    def loss(self, ids: Tensor, mask: Tensor, noise: Tensor, beta: float = 1.0) -> Tensor:
        """Mean over the batch of distortion + beta * rate.

        Args:
            ids: (B,T), from bos to eos, padded on the right.
            mask: (B,T).
            noise: (B,D) standard normal.
            beta: weight of the rate.
        """
        summary = self.encode(ids, mask)
        mu, logvar = self.mu(summary), self.logvar(summary)
        z = mu + (0.5 * logvar).exp() * noise
        log_p = F.log_softmax(self.decode(ids[:, :-1], z) @ self.target.weight.T + self.bias, -1)
        distortion = F.nll_loss(log_p.transpose(1, 2), ids[:, 1:], ignore_index=self.pad, reduction="sum") / len(ids)
        rate = -0.5 * (1 + logvar - mu**2 - logvar.exp()).sum(-1).mean()
        return distortion + beta * rate

    def encode(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(B,T) -> (B,H), the state at each sentence's last token."""
        x = self.source(ids) * self.scale
        if self.kind == "recurrent":
            states = self.encoder(x)[0]
        else:
            x = x + self.source_positions.weight[: ids.shape[1]]
            states = self.encoder(x, src_key_padding_mask=~mask.bool())
        return states[torch.arange(len(ids)), mask.sum(1) - 1]

    def decode(self, ids: Tensor, z: Tensor) -> Tensor:
        """(B,T), (B,D) -> (B,T,H)."""
        x = self.target(ids) * self.scale
        if self.kind == "recurrent":
            x = torch.cat([x, z[:, None].expand(-1, x.shape[1], -1)], -1)
            cell = self.initial(z)[None]
            return self.decoder(x, (cell.tanh(), cell) if self.lstm else cell.tanh())[0]
        x = x + self.target_positions.weight[: ids.shape[1]] + self.latent(z)[:, None]
        causal = nn.Transformer.generate_square_subsequent_mask(ids.shape[1])
        return self.projection(self.decoder(x, mask=causal, is_causal=True))


def _blocks(layers: int, size: int, heads: int) -> nn.TransformerEncoder:
    block = nn.TransformerEncoderLayer(size, heads, 4 * size, 0.0, "gelu", batch_first=True, norm_first=True)
    return nn.TransformerEncoder(block, layers, norm=nn.LayerNorm(size), enable_nested_tensor=False)
