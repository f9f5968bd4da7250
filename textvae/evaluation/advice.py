"""What the doctor found in words, and what to change in which key."""

from __future__ import annotations

import functools
import typing
from typing import Any

from textvae import registry
from textvae.recipe import Recipe

# Share of the dimensions that must be active for a posterior to count as healthy.
HEALTHY_SHARE = 0.8
# A posterior with a smaller rate, in nats, has next to nothing to tell, however many of its dimensions differ.
LEAST_RATE = 1.0
# Share of unknown words from which on texts are more like one another than they are, and texts below which every number
# here may be chance.
MOST_UNKNOWN, FEW_TEXTS = 0.2, 30
# Tokens of a text that count as its first words.
FIRST_WORDS = 3
# Share of samples in empty places from which on there are holes.
HOLES_SHARE = 0.5
KNOW_WORDS = "set tokenizer.kind to bpe, to which no text is unknown (or to char, where there are no spaces)"
# Of objectives that hold the aggregated posterior against the prior: the weight of that.
DISCREPANCIES = {"infovae": "mmd_weight", "adversarial": "weight"}


def findings(found: dict[str, Any]) -> list[str]:
    """What was found, a sentence each, symptom by symptom."""
    active, size = found["active_units"], found["latent_size"]
    if not active:
        posterior = f"The posterior has collapsed: none of the {size} latent dimensions differs from text to text."
    elif found["decoder_ignores_z"] or has_little(found):
        posterior = f"The posterior's mean differs from text to text in {active} of {size} dimensions."
    elif active < size:
        posterior = f"The posterior has collapsed in {size - active} of {size} dimensions; {active} are active."
    else:
        every = "its one dimension is" if size == 1 else f"all {size} dimensions are"
        posterior = f"The posterior has not collapsed: {every} active."
    gain = f"{found['z_gain']:.2f} nats a text (standard error {found['z_gain_stderr']:.2f})"
    if found["decoder_ignores_z"]:
        decoder = f"The decoder ignores z: with the z of another text its nll rises by only {gain}."
    else:
        decoder = f"The decoder uses z: with the z of another text its nll rises by {gain}."
    lines = []
    if found["unk_rate"] > MOST_UNKNOWN:
        lines = [f"{found['unk_rate']:.0%} of the tokens are the unknown word, which tells no text from another."]
    lines += [posterior, decoder]
    if found["decoder_hears_little"]:
        lines += [f"That is little for a rate of {found['rate']:.2f} nats: most of what z tells is not heard."]
    if has_little(found) and found["active_units"]:
        lines += [f"The rate, {found['rate']:.2f} nats, is below {LEAST_RATE:g}: z has next to nothing to tell."]
    parts = ", ".join(
        f"{name} {found[f'z_gain_{key}']:.2f}"
        for name, key in (("length", "length"), ("first words", "first_words"), ("other words", "other_words"))
    )
    if found["only_first_words_and_length"]:
        lines += [f"Reconstruction comes only from the first {FIRST_WORDS} tokens and the length: of the gain {parts}."]
    elif found["only_first_words_and_length"] is False:
        lines += [f"z tells of the whole text, and not only of its first words and length: of the gain, {parts}."]
    if found["rate_exceeds_gain"]:
        much = "infinite" if found["rate"] is None else f"{found['rate']:.2f} nats"
        lines += [
            f"The rate, {much}, is more than z saves, since the objective puts no weight on it: nll and iw_nll say "
            "nothing of how good the model is."
        ]
    if found["prior_and_posterior_overlap"] is not None:
        which = "fitted " if found["prior"].startswith("fitted") else ""
        overlap = "overlap" if found["prior_and_posterior_overlap"] else "do not overlap"
        lines += [
            f"The aggregated posterior and the {which}prior {overlap}: {found['prior_off_posterior']:.0%} of the "
            f"prior's samples fall into holes where no text lies, {found['posterior_off_prior']:.0%} of the texts lie "
            "where the prior does not sample (5% each if they were the same)."
        ]
    if found["mutual_information_at_cap"]:
        lines += [
            f"The mutual information, {found['mutual_information']:.2f} nats, is at its cap log {found['sentences']} = "
            f"{found['mutual_information_cap']:.2f}: z may hold more than that estimate can say."
        ]
    if found["sentences"] < FEW_TEXTS:
        lines += [f"There are only {found['sentences']} validation texts: all of this may be chance."]
    return lines


def advice(found: dict[str, Any], recipe: Recipe) -> list[str]:
    """What to change in which key, for each symptom that was found."""
    sections = last_objective(recipe)
    few = found["active_units"] < HEALTHY_SHARE * found["latent_size"]
    unheard = found["decoder_ignores_z"] or found["decoder_hears_little"]
    tells_little = few or found["decoder_ignores_z"] or has_little(found)
    hidden = recipe.model["decoder"].get("word_dropout", 0.0)
    word_dropout = _named("model", recipe.model, "decoder.word_dropout")
    word_dropout += f" to {max(0.3, round((1 + hidden) / 2, 2))} or more"
    places = _places_left(recipe.model)
    lines = [f"First of all: {KNOW_WORDS}."] if found["unk_rate"] > MOST_UNKNOWN else []
    lines += more_rate(*sections) if tells_little else []
    if unheard:
        lines += [f"Weaken the decoder: raise {word_dropout}."]
    if unheard and found["active_units"] and places:
        lines += [
            "The encoder tells texts apart and the decoder hardly listens: let z in at every step, with "
            f"{' and '.join(places)} in {_named('model', recipe.model, 'decoder.inject')}."
        ]
    elif few and found["active_units"]:
        lines += [
            f"Or set {_named('model', recipe.model, 'latent.size')} to {max(1, found['active_units'])}: the "
            "other dimensions only add noise."
        ]
    if found["only_first_words_and_length"]:
        reads_all = recipe.model["encoder"].get("pooling") in ("max", "mean", "attention", "rotary")
        pool = (
            "" if reads_all else "Let the encoder pool over all words (model.encoder.pooling: max or mean), and raise "
        )
        lines += [f"{pool or 'Raise '}{word_dropout}, so that z pays off behind the first words."]
    if found["prior_and_posterior_overlap"] is False:
        if not tells_little:  # else the contrary is advised above
            lines += _less_rate(*sections)
        latent = recipe.model["latent"]
        on_sphere = registry.part("posterior", latent["posterior"]["kind"]).support == "sphere"
        if found["prior"].startswith("fitted"):
            lines += ["Or fit a prior with more parts: `textvae fit-prior RUN --components N`, or `--kind flow`."]
        elif found["prior_off_posterior"] >= HOLES_SHARE and not on_sphere:
            # Towards 0 is towards the texts only where they lie around it.
            around = latent["prior"]["kind"] == "standard" and found["posterior_off_prior"] < HOLES_SHARE
            nearer = "; or stay nearer to the texts with `textvae sample RUN --z-scale 0.8`" if around else ""
            lines += [
                "For samples of the model as it is: `textvae fit-prior RUN`, then `textvae sample RUN --prior fitted`"
                f"{nearer}."
            ]
    if found["mutual_information_at_cap"]:
        lines += [
            "Nothing to change in the model: read the rate and z_gain in place of the mutual information, which cannot "
            "be more than the log of the number of texts."
        ]
    return lines


def more_rate(objective: dict[str, Any], latent: dict[str, Any], where: str = "objective") -> list[str]:
    """How the posterior is given more to tell, with this objective, posterior and prior.

    Args:
        objective: its section, resolved.
        latent: of the section model.
        where: that section stands in the recipe.
    """
    posterior, prior = (registry.part(family, latent[family]["kind"]) for family in ("posterior", "prior"))
    key = functools.partial(_named, where, objective)
    lines = []
    if "concentration" in latent["posterior"]:
        lines = [f"Raise {_named('model.latent', latent, 'posterior.concentration')}."]
    if posterior.fixed_width and not prior.learned:  # its rate to the uniform prior is set by that alone
        return lines
    kind = objective["kind"]
    against = DISCREPANCIES.get(kind)
    if against and not posterior.has_density:
        return [f"Lower {key(against)}: nothing else keeps the posterior near the prior."]
    if kind == "elbo" and not (posterior.has_density and objective["beta"]["max"]):
        return lines  # nothing of this objective weighs on it
    if kind == "elbo":
        each = posterior.by_dimension and prior.by_dimension
        share = f", with {where}.free_bits_per: dimension so that every dimension gets its share" if each else ""
        enough = max(8, round(2 * objective["free_bits"]))
        lines += [f"Raise {key('free_bits')} to {enough} or more{share}."]
        slower = f"Make {key('beta.warmup')} longer"
        if objective["beta"]["schedule"] == "constant":
            slower = f"Let beta rise ({where}.beta.schedule: linear, {where}.beta.warmup: 0.3)"
        lines += [f"{slower}, or make {key('beta.max')} smaller."]
    elif kind == "target_rate":
        lines += [f"Raise {key('rate')}, with {where}.constraint: equal."]
    elif kind == "infovae" and objective["alpha"] < 1:
        lines += [f"Raise {key('alpha')} towards 1: the rate then costs less."]
    elif kind == "infovae":
        lines += [f"Lower {key(against)}: nothing else keeps the posterior near the prior."]
    else:
        lines += [f"Train with {where}: {{kind: elbo, free_bits: 8, beta: {{schedule: linear, warmup: 0.3}}}}."]
    return lines


def _less_rate(objective: dict[str, Any], latent: dict[str, Any], where: str) -> list[str]:
    """How the posteriors are brought nearer to the prior, with this objective."""
    kind = objective["kind"]
    posterior, prior = (registry.part(family, latent[family]["kind"]) for family in ("posterior", "prior"))
    key = functools.partial(_named, where, objective)
    if posterior.fixed_width and not prior.learned:
        what = f"Lower {_named('model.latent', latent, 'posterior.concentration')}"
    elif kind == "target_rate":
        what = f"Lower {key('rate')}"
    elif kind in DISCREPANCIES:
        what = f"Raise {key(DISCREPANCIES[kind])}"
    elif kind == "elbo" and posterior.has_density:
        free = f" or lower {key('free_bits')}" if objective["free_bits"] else ""
        return [f"Raise {key('beta.max')}{free}: less rate brings the posteriors nearer to the prior."]
    else:
        return []
    return [f"{what}: that brings the posteriors nearer to the prior."]


def has_little(found: dict[str, Any]) -> bool:
    """Whether the rate, where there is one, is that of a posterior with next to nothing to tell."""
    return found["rate"] is not None and found["rate"] < LEAST_RATE


def last_objective(recipe: Recipe) -> tuple[dict[str, Any], dict[str, Any], str]:
    """The objective that the model was trained with last, `model.latent`, and where the former stands."""
    stages = recipe.training.get("stages") or []
    own = stages[-1].get("objective") if stages else None
    where = f"training.stages: {len(stages)}: objective" if own else "objective"
    return own or recipe.objective, recipe.model["latent"], where


def _places_left(model: dict[str, Any]) -> list[str]:
    """Where z could enter this kind of decoder and does not; a decoder from elsewhere may not say.

    Rotary is one for an encoder that pools so.
    """
    decoder = model["decoder"]
    field = registry.config_class("decoder", decoder["kind"]).model_fields.get("inject")
    places = typing.get_args(typing.get_args(field.annotation)[0]) if field else ()
    others = () if model["encoder"].get("pooling") == "rotary" else ("rotary",)
    return [place for place in places if place not in (*decoder["inject"], *others)]


def _named(where: str, section: dict[str, Any], key: str) -> str:
    """A key by its whole path, with its value in words unless the recipe's kind of part has no such key."""
    path, value = f"{where}.{key}", section
    for part in key.split("."):
        if not isinstance(value, dict) or part not in value:
            return path
        value = value[part]
    return f"{path} (now {', '.join(value) if isinstance(value, list | tuple) else value})"
