"""A prior that is fitted after training to the latent vectors of the training texts, the aggregated posterior.

Shapes: N texts, K components, D latent dimensions.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from textvae import registry
from textvae.latent.flow import require_zuko
from textvae.latent.mixture import MixturePrior
from textvae.writing import whole_file

FITTED = "fitted_prior.safetensors"
# Of a mixture: so many, but no more than one for so many vectors.
COMPONENTS, VECTORS_PER_COMPONENT = 50, 20
# Of EM: rounds at most, the gain in nats a vector that is worth another, and for how many vectors of variance 1, that
# of the data, each component's variance counts in what it was before: one that has a single vector is no point.
ROUNDS, GAIN, PSEUDO_COUNT = 200, 1e-4, 1.0
# Of the flow: steps of Adam, vectors a step, and the highest learning rate.
STEPS, BATCH, LEARNING_RATE = 1000, 512, 2e-3


class FittedPrior(nn.Module):
    """A registered prior of standardised vectors: z = mean + std * y.

    Args:
        prior: mapping of the prior of y: its kind and keys.
        latent_size: D.
    """

    def __init__(self, prior: dict[str, Any], latent_size: int):
        super().__init__()
        self.config = prior
        self.prior = registry.build("prior", prior, latent_size)
        self.register_buffer("mean", torch.zeros(latent_size))
        self.register_buffer("std", torch.ones(latent_size))

    def sample(
        self,
        n: int,
        generator: torch.Generator | None = None,
        device: torch.device | None = None,
        scale: float = 1.0,
    ) -> Tensor:
        """Draws (n,D) latent vectors, on the device of the weights.

        Args:
            n: how many.
            generator, device: source of randomness, and where the noise is drawn.
            scale: factor on the noise, as for the prior of y.
        """
        return self.mean + self.std * self.prior.sample(n, generator, device, scale)

    def log_prob(self, z: Tensor) -> Tensor:
        """log p(z) in nats, (...,D) -> (...)."""
        return self.prior.log_prob((z - self.mean) / self.std) - self.std.log().sum()

    def save(self, folder: str | Path) -> None:
        """Writes it into a run folder, beside the model."""
        with whole_file(Path(folder) / FITTED) as draft:
            save_file(self.state_dict(), draft, metadata={"prior": json.dumps(self.config)})

    @classmethod
    def load(cls, file: str | Path) -> FittedPrior:
        """Reads what `save` wrote."""
        with safe_open(file, "pt") as content:
            state = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118 - no mapping
            fitted = cls(json.loads(content.metadata()["prior"]), len(state["mean"]))
        fitted.load_state_dict(state)
        return fitted.eval()


def prior_to_fit(count: int, kind: str, components: int | None = None) -> dict[str, Any]:
    """The prior that is fitted to so many vectors, as a mapping of its kind and keys.

    Args:
        count: N, the number of vectors.
        kind, components: as for `fit_prior`.

    Raises:
        ValueError: an unknown kind, or fewer vectors than components.
        ImportError: a flow, and zuko is not installed.
    """
    if count < 2:
        raise ValueError(f"{count} latent vectors are too few to fit a prior to")
    if kind == "flow":
        if components is not None:
            raise ValueError("components: a flow has none; leave it out, or choose kind mixture")
        require_zuko()
        config = {"kind": kind, "transform": "spline", "num_layers": 6}
    elif kind == "mixture":
        if components is None:
            components = max(1, min(COMPONENTS, count // VECTORS_PER_COMPONENT))
        if not 1 <= components <= count:
            raise ValueError(f"components: {components} is not allowed with {count} vectors; from 1 to that number")
        config = {"kind": kind, "components": components}
    else:
        raise ValueError(f"kind: {kind!r} is not known; known: flow, mixture")
    return registry.resolve("prior", config, "prior")


def fit_prior(z: Tensor, kind: Literal["mixture", "flow"] = "mixture", components: int | None = None, seed: int = 0):
    """The prior under which latent vectors are most likely.

    Args:
        z: (N,D), one draw from the posterior of each training text.
        kind: mixture (of Gaussians, by expectation maximisation) or flow (splines, by gradient descent).
        components: K of the mixture; 50 when None, or one for 20 vectors where that is less.
        seed: of all that is random.

    Returns:
        A FittedPrior.

    Raises:
        ValueError: an unknown kind, or fewer vectors than components.
        ImportError: a flow, and zuko is not installed.

    Source: Ghosh et al. 2020, arXiv 1903.12436, section 4 (a density fitted after training, there a mixture of
    Gaussians); EM: Dempster et al. 1977; why variances are held up: Fraley & Raftery 2007, section 2.
    """
    config, generator = prior_to_fit(len(z), kind, components), torch.Generator().manual_seed(seed)
    z = z[torch.randperm(len(z), generator=generator)]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        fitted = FittedPrior(config, z.shape[1])
    for module in fitted.modules():
        if getattr(module, "starts_at_zero", False):  # a flow begins at the identity
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)
    fitted.mean.copy_(z.mean(0))
    fitted.std.copy_(z.std(0).clamp_min(1e-6))
    standardised = (z - fitted.mean) / fitted.std
    if kind == "mixture":
        _expectation_maximisation(fitted.prior, standardised.double())
    else:
        _maximum_likelihood(fitted.prior, standardised, generator)
    return fitted.eval()


@torch.no_grad()
def _expectation_maximisation(prior: MixturePrior, y: Tensor) -> None:
    """Fits the mixture to y (N,D), in random order, starting from its first K rows."""
    count = len(prior.logits)
    mu, variance, log_weights = y[:count].clone(), torch.ones(count, y.shape[1]).to(y), y.new_zeros(count)
    log_weights -= math.log(count)
    before = -math.inf
    for _ in range(ROUNDS):
        # sum_d (y - mu)^2 / variance as three matrix products: a tensor (N,K,D) would be too large
        squares = y**2 @ (1 / variance).T - 2 * y @ (mu / variance).T + (mu**2 / variance).sum(1)
        joint = log_weights - 0.5 * (squares + variance.log().sum(1) + y.shape[1] * math.log(2 * math.pi))
        log_likelihood = joint.logsumexp(1)
        share = (joint - log_likelihood[:, None]).exp()
        mass = share.sum(0).clamp_min(1e-8)
        mu = share.T @ y / mass[:, None]
        squares = (share.T @ y**2 - mass[:, None] * mu**2).clamp_min(0)
        variance = (squares + PSEUDO_COUNT) / (mass[:, None] + PSEUDO_COUNT)
        log_weights = (mass / mass.sum()).log()
        now = float(log_likelihood.mean())
        if now - before < GAIN:
            break
        before = now
    prior.mu.copy_(mu)
    prior.logvar.copy_(variance.log())
    prior.logits.copy_(log_weights)


@torch.enable_grad()
def _maximum_likelihood(prior: nn.Module, y: Tensor, generator: torch.Generator) -> None:
    """Fits any prior to y (N,D) by gradient descent."""
    optimizer = torch.optim.Adam(prior.parameters(), LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=STEPS)
    for _ in range(STEPS):
        batch = y[torch.randint(len(y), (BATCH,), generator=generator)]
        optimizer.zero_grad()
        (-prior.log_prob(batch).mean()).backward()
        nn.utils.clip_grad_norm_(prior.parameters(), 5.0)
        optimizer.step()
        schedule.step()
