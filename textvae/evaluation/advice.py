"""What the doctor found in words, and what to change in which key."""

from __future__ import annotations

from typing import Any

from textvae import registry
from textvae.recipe import Recipe

# Share of the dimensions that must be active for a posterior to count as healthy.
HEALTHY_SHARE = 0.8
# Tokens of a text that count as its first words.
FIRST_WORDS = 3
# Share of samples in empty places from which on there are holes.
HOLES_SHARE = 0.5
# Of objectives that hold the aggregated posterior against the prior: the weight of that.
DISCREPANCIES = {"infovae": "objective.mmd_weight", "adversarial": "objective.weight"}


def findings(found: dict[str, Any]) -> list[str]:
    """What was found, a sentence each, symptom by symptom."""
    active, size = found["active_units"], found["latent_size"]
    if not active:
        posterior = f"The posterior has collapsed: none of the {size} latent dimensions differs from text to text."
    elif active < size:
        posterior = f"The posterior has collapsed in {size - active} of {size} dimensions; {active} are active."
    else:
        posterior = f"The posterior has not collapsed: all {size} dimensions are active."
    gain = f"{found['z_gain']:.2f} nats a text (standard error {found['z_gain_stderr']:.2f})"
    if found["decoder_ignores_z"]:
        decoder = f"The decoder ignores z: with the z of another text its nll rises by only {gain}."
    else:
        decoder = f"The decoder uses z: with the z of another text its nll rises by {gain}."
    lines = [posterior, decoder]
    parts = ", ".join(
        f"{name} {found[f'z_gain_{key}']:.2f}"
        for name, key in (("length", "length"), ("first words", "first_words"), ("other words", "other_words"))
    )
    if found["only_first_words_and_length"]:
        lines += [f"Reconstruction comes only from the first {FIRST_WORDS} tokens and the length: of the gain {parts}."]
    elif found["only_first_words_and_length"] is False:
        lines += [f"z tells of the whole text, and not only of its first words and length: of the gain, {parts}."]
    if found["prior_and_posterior_overlap"] is not None:
        overlap = "overlap" if found["prior_and_posterior_overlap"] else "do not overlap"
        lines += [
            f"The aggregated posterior and the prior {overlap}: {found['prior_off_posterior']:.0%} of the prior's "
            f"samples fall into holes where no text lies, {found['posterior_off_prior']:.0%} of the texts lie where "
            "the prior does not sample (5% each if they were the same)."
        ]
    if found["mutual_information_at_cap"]:
        lines += [
            f"The mutual information, {found['mutual_information']:.2f} nats, is at its cap log {found['sentences']} = "
            f"{found['mutual_information_cap']:.2f}: z may hold more than that estimate can say."
        ]
    return lines


def advice(found: dict[str, Any], recipe: Recipe) -> list[str]:
    """What to change in which key, for each symptom that was found."""
    values = {"objective": recipe.objective, "model": recipe.model}
    sections = recipe.objective, recipe.model["latent"]
    few = found["active_units"] < HEALTHY_SHARE * found["latent_size"]
    tells_little = few or found["decoder_ignores_z"]
    word_dropout = _now(values, "model.decoder.word_dropout")
    lines = more_rate(*sections) if tells_little else []
    if found["decoder_ignores_z"]:
        lines += [f"Weaken the decoder: raise model.decoder.word_dropout{word_dropout} to 0.3 or more."]
    if found["decoder_ignores_z"] and found["active_units"]:
        lines += [
            "The encoder tells texts apart and the decoder does not listen: let z in at every step, with more places "
            f"in model.decoder.inject{_now(values, 'model.decoder.inject')}."
        ]
    elif few and found["active_units"]:
        lines += [
            f"Or set model.latent.size{_now(values, 'model.latent.size')} to {max(1, found['active_units'])}: the "
            "other dimensions only add noise."
        ]
    if found["only_first_words_and_length"]:
        lines += [
            "Let the encoder pool over all words (model.encoder.pooling: max or mean) and raise "
            f"model.decoder.word_dropout{word_dropout}, so that z pays off behind the first words."
        ]
    if found["prior_and_posterior_overlap"] is False:
        if not tells_little:  # else the contrary is advised above
            lines += _less_rate(*sections)
        on_sphere = registry.part("posterior", recipe.model["latent"]["posterior"]["kind"]).support == "sphere"
        if found["prior_off_posterior"] >= HOLES_SHARE and not on_sphere:
            lines += [
                "For samples of the model as it is: `textvae fit-prior RUN`, then `textvae sample RUN --prior fitted`; "
                "or stay nearer to the texts with `textvae sample RUN --z-scale 0.8`."
            ]
    if found["mutual_information_at_cap"]:
        lines += [
            "Nothing to change in the model: read the rate and z_gain in place of the mutual information, which cannot "
            "be more than the log of the number of texts."
        ]
    return lines


def more_rate(objective: dict[str, Any], latent: dict[str, Any]) -> list[str]:
    """How the posterior is given more to tell, with this objective, posterior and prior.

    Args:
        objective: its section, resolved.
        latent: of the section model.
    """
    values = {"objective": objective, "model": {"latent": latent}}
    posterior, prior = (registry.part(family, latent[family]["kind"]) for family in ("posterior", "prior"))
    lines = []
    if "concentration" in latent["posterior"]:
        lines = [f"Raise model.latent.posterior.concentration{_now(values, 'model.latent.posterior.concentration')}."]
    if posterior.fixed_width:  # its rate is set by that alone
        return lines
    kind = objective["kind"]
    against = DISCREPANCIES.get(kind)
    if against and not posterior.has_density:
        return [f"Lower {against}{_now(values, against)}: nothing else keeps the posterior near the prior."]
    if kind == "elbo" and not posterior.has_density:
        return lines  # nothing of this objective weighs on it
    if kind == "elbo":
        beta = objective["beta"]
        each = posterior.by_dimension and prior.by_dimension
        share = ", with objective.free_bits_per: dimension so that every dimension gets its share" if each else ""
        enough = max(8, round(2 * objective["free_bits"]))
        lines += [f"Raise objective.free_bits{_now(values, 'objective.free_bits')} to {enough} or more{share}."]
        slower = f"Make objective.beta.warmup longer{_now(values, 'objective.beta.warmup')}"
        if beta["schedule"] == "constant":
            slower = "Let beta rise (objective.beta.schedule: linear, objective.beta.warmup: 0.3)"
        if beta["max"]:
            lines += [f"{slower} or objective.beta.max smaller{_now(values, 'objective.beta.max')}."]
    elif kind == "target_rate":
        lines += [f"Raise objective.rate{_now(values, 'objective.rate')}, with objective.constraint: equal."]
    elif kind == "infovae":
        lines += [f"Raise objective.alpha{_now(values, 'objective.alpha')} towards 1: the rate then costs less."]
    else:
        lines += ["Train with objective: {kind: elbo, free_bits: 8, beta: {schedule: linear, warmup: 0.3}}."]
    return lines


def _less_rate(objective: dict[str, Any], latent: dict[str, Any]) -> list[str]:
    """How the posteriors are brought nearer to the prior, with this objective."""
    values = {"objective": objective, "model": {"latent": latent}}
    kind, posterior = objective["kind"], registry.part("posterior", latent["posterior"]["kind"])
    if posterior.fixed_width:
        key, what = "model.latent.posterior.concentration", "Lower"
    elif kind == "target_rate":
        key, what = "objective.rate", "Lower"
    elif kind in DISCREPANCIES:
        key, what = DISCREPANCIES[kind], "Raise"
    elif kind == "elbo" and posterior.has_density:
        return [
            f"Raise objective.beta.max{_now(values, 'objective.beta.max')} or lower objective.free_bits"
            f"{_now(values, 'objective.free_bits')}: less rate brings the posteriors nearer to the prior."
        ]
    else:
        return []
    return [f"{what} {key}{_now(values, key)}: that brings the posteriors nearer to the prior."]


def _now(values: dict[str, Any], key: str) -> str:
    """The value of a key in words, or nothing where the recipe's kind of part has no such key."""
    value = values
    for part in key.split("."):
        if not isinstance(value, dict) or part not in value:
            return ""
        value = value[part]
    return f" (now {', '.join(value) if isinstance(value, list | tuple) else value})"
