"""The doctor: three models made for the purpose, each called by its name, and each symptom on its own."""

import dataclasses
import itertools
import json
import math
import shutil
import time

import pytest
import torch
from torch import nn

from tests.contract import needs_bfloat16
from tests.tiny import tiny_recipe, train_tiny
from textvae import TextVAE, TextVAEConfig, TextVAEModel, registry
from textvae.data.encoding import encode_texts
from textvae.decoders.base import VocabularyDecoder, VocabularyDecoderConfig
from textvae.evaluation.advice import advice, findings, more_rate
from textvae.evaluation.doctor import Gain, derangement, distances_to_the_prior, examine, examine_run, gain_from_z
from textvae.evaluation.fitting import fit_run_prior
from textvae.evaluation.likelihood import evaluate_bound
from textvae.evaluation.run import load_run_recipe
from textvae.outputs import DecoderOutput
from textvae.registry import register
from textvae.tokenization import TokenizerConfig, make_tokenizer


@pytest.fixture(scope="module")
def split(trained):
    return trained.splits["train"]


@pytest.fixture(scope="module")
def recipe(trained):
    return load_run_recipe(trained.folder, [])


@pytest.fixture
def model(trained):
    """A copy of the trained model, to be changed."""
    return TextVAEModel.from_pretrained(trained.folder).eval()


def collapse(model, dimensions, encoder=True, decoder=True):
    """Makes dimensions carry nothing, exactly: q = N(0, 1) for all texts, and the decoder blind to them."""
    with torch.no_grad():
        if encoder:
            for head in (model.posterior.mu, model.posterior.logvar):
                head.weight[dimensions] = 0
                head.bias[dimensions] = 0
        if decoder:
            model.decoder.initial.weight[:, dimensions] = 0
            beside = model.decoder.layers[0].weight_ih_l0
            beside[:, [beside.shape[1] - model.config.latent_size + d for d in dimensions]] = 0
    return model


@pytest.fixture
def examined(trained, split, recipe, model):
    """What the doctor says of the changed model on the training texts."""
    return lambda: examine(TextVAE(model, trained.vae.tokenizer), split, recipe, bf16=False)


# ---- The verdict ----


def test_healthy(examined):
    found = examined()
    assert found["verdict"] == "healthy"
    assert found["collapsed_dimensions"] == []
    assert not found["decoder_ignores_z"]
    assert found["z_gain"] > 4 * found["z_gain_stderr"] > 0
    assert found["findings"][0] == "The posterior has not collapsed: all 8 dimensions are active."
    assert found["findings"][1].startswith(
        f"The decoder uses z: with the z of another text its nll rises by {found['z_gain']:.2f}"
    )
    assert not any("free_bits_per" in line for line in found["advice"])


def test_half_collapsed(examined, model):
    collapse(model, [1, 3, 4, 6])
    found = examined()
    assert found["verdict"] == "partial"
    assert found["collapsed_dimensions"] == [1, 3, 4, 6]
    assert found["active_units"] == 4
    assert [found["rate_per_dimension"][d] for d in (1, 3, 4, 6)] == [0, 0, 0, 0]
    assert [found["mu_variance_per_dimension"][d] for d in (1, 3, 4, 6)] == pytest.approx([0] * 4, abs=1e-12)
    assert not found["decoder_ignores_z"]
    assert found["findings"][0] == "The posterior has collapsed in 4 of 8 dimensions; 4 are active."
    assert found["advice"][0].startswith("Raise objective.free_bits (now 8.0) to 16 or more")
    assert "Or set model.latent.size (now 8) to 4" in found["advice"][2]


def test_collapsed(examined, model):
    collapse(model, list(range(8)))
    found = examined()
    assert found["verdict"] == "collapsed"
    assert found["active_units"] == 0
    assert found["rate"] == 0
    assert found["mutual_information"] == pytest.approx(0, abs=1e-5)
    assert found["z_gain"] == 0
    assert found["decoder_ignores_z"]
    assert (
        found["findings"][0]
        == "The posterior has collapsed: none of the 8 latent dimensions differs from text to text."
    )
    assert found["only_first_words_and_length"] is None  # of no gain there are no parts
    assert any("model.decoder.word_dropout (now 0.1) to 0.55 or more" in line for line in found["advice"])


def test_a_rate_of_next_to_nothing_is_not_healthy(examined, model, monkeypatch):
    """Of which training has warned: it goes by the same number."""
    monkeypatch.setattr("textvae.evaluation.advice.LEAST_RATE", 1000.0)
    found = examined()
    assert found["verdict"] == "partial"
    assert any(line.startswith(f"The rate, {found['rate']:.2f} nats, is below 1000") for line in found["findings"])
    assert found["advice"][0].startswith("Raise objective.free_bits")


def test_one_unused_dimension_is_no_collapse(examined, model):
    collapse(model, [2])
    found = examined()
    assert (found["verdict"], found["collapsed_dimensions"]) == ("healthy", [2])
    assert found["findings"][0] == "The posterior has collapsed in 1 of 8 dimensions; 7 are active."


# ---- Each symptom ----


def test_a_decoder_that_ignores_a_good_posterior(examined, model):
    collapse(model, list(range(8)), encoder=False)
    found = examined()
    assert found["verdict"] == "collapsed"
    assert (found["active_units"], found["decoder_ignores_z"], found["z_gain"]) == (8, True, 0)
    assert found["rate"] > 4
    assert found["findings"][1].startswith("The decoder ignores z")
    assert any("model.decoder.inject (now initial, concat)" in line for line in found["advice"])


@pytest.mark.parametrize(
    ("shift", "scale", "logvar", "off", "words"),
    [
        (4.0, 1.0, -3.0, ["prior_off_posterior", "posterior_off_prior"], "do not overlap: 100%"),
        (0.0, 0.05, -3.0, ["prior_off_posterior"], "fall into holes"),
        (0.0, 1.0, 3.0, ["posterior_off_prior"], "where the prior does not sample"),
    ],
    ids=["beside", "within", "around"],
)
def test_holes(examined, model, shift, scale, logvar, off, words):
    """An aggregated posterior beside, within and around the prior."""
    with torch.no_grad():
        model.posterior.mu.weight.mul_(scale)
        model.posterior.mu.bias.mul_(scale).add_(shift)
        model.posterior.logvar.weight.zero_()
        model.posterior.logvar.bias.fill_(logvar)
    found = examined()
    assert found["prior_and_posterior_overlap"] is False
    for side in ("prior_off_posterior", "posterior_off_prior"):
        assert (found[side] > 0.9) is (side in off)
    assert any(words in line for line in found["findings"])
    more = found["active_units"] < 7  # then it is not told to have less
    assert any(f"objective.beta.max (now 0.3){' smaller' * more}" in line for line in found["advice"])
    fitted = [line for line in found["advice"] if "fit-prior" in line]
    assert bool(fitted) == ("prior_off_posterior" in off)
    # Nearer to 0 is nearer to the texts only where they lie around it.
    assert all(("--z-scale 0.8" in line) == (shift == 0) for line in fitted)


def test_cap(examined, model):
    """Posteriors so narrow that every text is told from every other: all that can be seen is the number of texts."""
    with torch.no_grad():
        model.posterior.logvar.weight.zero_()
        model.posterior.logvar.bias.fill_(-25.0)
    found = examined()
    assert found["mutual_information"] == pytest.approx(math.log(found["sentences"]), abs=1e-4)
    assert found["mutual_information_at_cap"] is True
    assert any("is at its cap log 260 = 5.56" in line for line in found["findings"])
    assert any("read the rate and z_gain in place of" in line for line in found["advice"])


def test_below_the_cap(examined, model):
    collapse(model, [1, 2, 3, 4, 5, 6, 7])
    found = examined()
    assert found["mutual_information"] < 0.5 * found["mutual_information_cap"]
    assert found["mutual_information_at_cap"] is False


class PositionalConfig(VocabularyDecoderConfig):
    """What z tells a decoder of the test."""

    knows: str = "word"
    tie_embeddings: bool = False


@register("decoder", "positional", PositionalConfig)
class Positional(VocabularyDecoder):
    """z = (length, word), both read off it exactly; told of the first words, of all words, or of the length alone."""

    def __init__(self, config, model_config):
        vocabulary = model_config.vocab_size
        super().__init__(config, model_config, 1, vocabulary)
        self.softmax.weight.data = torch.eye(vocabulary)
        self.knows = config.knows

    def forward(self, ids, z, state=None):
        position = torch.arange(ids.shape[1])[None]
        features = torch.zeros(*ids.shape, len(self.softmax_bias))
        if self.knows == "length":
            features[..., 2] = torch.where(position == z[:, :1].round(), 9.0, -9.0)
        else:
            told = position < (3 if self.knows == "first words" else 99)
            word = nn.functional.one_hot(z[:, 1].round().long().clamp(0, features.shape[-1] - 1), features.shape[-1])
            features = features + 9.0 * word[:, None] * told[..., None]
        return DecoderOutput(features, state)


class TellTale(nn.Module):
    """A posterior that holds the length of a text and its last word, with hardly any noise."""

    support, has_density = "euclidean", True

    def forward(self, summary):
        from textvae.latent import DiagonalGaussian

        return DiagonalGaussian(summary, torch.full_like(summary, -20.0))


class LengthAndWord(nn.Module):
    """The summary is the answer: the position of eos among the predictions, and the word of the text."""

    def forward(self, ids, mask, word_vectors=None):
        return torch.stack([mask.sum(1) - 2, ids[:, 1]], 1).float()


@pytest.fixture
def told(recipe):
    """A VAE of texts that repeat one word, whose z tells the decoder what its name says, and those texts."""
    texts = [" ".join([word] * n) for word in "abcdefgh" for n in range(8, 16)]
    tokenizer = make_tokenizer(TokenizerConfig(kind="word"), texts)

    def build(knows):
        decoder = {"kind": "positional", "knows": knows}
        model = TextVAEModel(TextVAEConfig(vocab_size=len(tokenizer), latent={"size": 2}, decoder=decoder))
        model.decoder.softmax.weight.data = torch.eye(len(tokenizer))
        model.encoder, model.posterior = LengthAndWord(), TellTale()
        return TextVAE(model, tokenizer), encode_texts(texts, tokenizer)

    return build


@pytest.mark.parametrize(
    ("knows", "where", "only"),
    [
        ("length", "length", True),
        ("first words", "first_words", True),
        ("all words", "other_words", False),
    ],
)
def test_what_z_tells(told, recipe, knows, where, only):
    vae, dataset = told(knows)
    found = examine(vae, dataset, recipe, bf16=False)
    parts = {part: found[f"z_gain_{part}"] for part in ("length", "first_words", "other_words")}
    assert sum(parts.values()) == pytest.approx(found["z_gain"], rel=1e-5)
    assert max(parts, key=parts.get) == where
    assert found["only_first_words_and_length"] is only
    if only:
        assert parts["other_words"] == pytest.approx(0, abs=1e-3)
        start = "Reconstruction comes only from the first 3 tokens and the length"
        assert any(line.startswith(start) for line in found["findings"])
        assert any("pays off behind the first words" in line for line in found["advice"])
    # A decoder that listens for no more than that is the hidden form of collapse.
    assert found["verdict"] == ("partial" if only else "healthy")


def test_gain_by_position(told, recipe):
    """Only the first three positions gain, all as much: the word is the same."""
    vae, dataset = told("first words")
    gains = examine(vae, dataset, recipe, bf16=False)["z_gain_by_position"]
    assert len(gains) == 16
    assert gains[:3] == pytest.approx([gains[0]] * 3)
    assert gains[0] > 5
    assert gains[3:] == pytest.approx([0] * 13, abs=1e-5)


def test_short_texts_are_mostly_first_words(examined):
    """Of six or seven tokens three words are half: nothing is said."""
    assert examined()["only_first_words_and_length"] is None


# ---- The estimators ----


def test_gain_by_brute_force(trained, split):
    """The difference of two distortions of the model itself, text by text."""
    model, dataset = trained.vae.model, encode_texts(split["text"][:40], trained.vae.tokenizer)
    bound = evaluate_bound(model, dataset, bf16=False)
    z = torch.empty(40, 8)
    z[bound.order] = bound.z
    source = derangement(40, torch.Generator().manual_seed(0))
    gain = gain_from_z(model, dataset, z, source, bf16=False)
    for row in range(40):
        ids = torch.tensor([dataset[row]["ids"]])
        pair = torch.stack([z[source[row]], z[row]])[:, None]
        with torch.no_grad():
            wrong, right = model.distortion(ids, torch.ones_like(ids), pair)[:, 0]
        assert float(gain.total[row]) == pytest.approx(float(wrong - right), abs=1e-3)
    assert gain.other_share == pytest.approx(
        sum(max(0, len(ids) - 2 - 3) for ids in dataset["ids"]) / sum(dataset["length"])
    )


@pytest.mark.parametrize("n", [2, 3, 10, 1000])
def test_derangement(n):
    for seed in range(5):
        source = derangement(n, torch.Generator().manual_seed(seed))
        assert sorted(source.tolist()) == list(range(n))
        assert not (source == torch.arange(n)).any()


def test_distances_of_the_prior_to_itself(trained):
    """Samples of the prior in place of posterior samples: 5% each, within four standard errors."""
    generator = torch.Generator().manual_seed(0)
    shares = [
        distances_to_the_prior(trained.vae.model, torch.randn(400, 8, generator=generator), generator)
        for _ in range(20)
    ]
    means = torch.tensor(shares).mean(0)
    # Both the share and the quantile that it is held against come from 200 samples.
    error = (2 * 0.05 * 0.95 / 200 / 20) ** 0.5
    assert (means - 0.05).abs().max() < 4 * error


# ---- A run ----


def test_of_a_run(trained):
    """Training has written down what the command finds."""
    written = json.loads((trained.folder / "doctor.json").read_text(), parse_constant=pytest.fail)
    assert written == trained.diagnosis
    start = time.time()
    again = examine_run(trained.folder, bf16=False)
    assert time.time() - start < 10
    assert again | {"seconds": 0} == written | {"seconds": 0}
    assert again["sentences"] == len(trained.splits["validation"])
    assert again["prior_and_posterior_overlap"] is None  # 14 texts


def test_many_texts(trained, split, recipe, monkeypatch):
    """No more than 1,000 are looked at, from everywhere in the split."""
    looked_at = []

    def encode(texts, *tokenizers):
        looked_at.extend(texts)
        return encode_texts(texts, *tokenizers)

    monkeypatch.setattr("textvae.evaluation.doctor.encode_texts", encode)
    monkeypatch.setattr("textvae.evaluation.doctor.MOST_TEXTS", 50)
    found = examine(trained.vae, split, recipe, bf16=False)
    assert found["sentences"] == 50
    texts = split["text"][:]
    places = [texts.index(text) for text in looked_at]
    assert (places[0], places[-1]) == (0, len(texts) - 1)
    assert max(b - a for a, b in itertools.pairwise(places)) <= len(texts) / 49 + 1


@pytest.mark.parametrize("information", [2.0, 5.2, 20.0])
def test_from_how_little_gain_the_decoder_is_deaf(trained, split, recipe, monkeypatch, information):
    """Half a nat, or a tenth of what z tells, of which no more than log N can be known."""
    n = len(split)
    least = {2.0: 0.5, 5.2: 0.52, 20.0: 0.1 * math.log(n)}[information]
    assert least >= 0.5
    monkeypatch.setattr("textvae.evaluation.doctor.mutual_information", lambda *_: information)
    for total, deaf in ((least - 0.01, True), (least + 0.01, False)):
        words = torch.full((n,), total / 2)
        gain = Gain(torch.zeros(n), words, words, 0.8, torch.full((5,), total / 5))
        monkeypatch.setattr("textvae.evaluation.doctor.gain_from_z", lambda *_, gain=gain: gain)
        found = examine(trained.vae, split, recipe, bf16=False)
        assert found["decoder_ignores_z"] == deaf
        assert (found["verdict"] == "collapsed") == deaf


def test_it_draws_nothing_from_the_global_generator(examined):
    before = torch.get_rng_state()
    first = examined()
    assert torch.equal(torch.get_rng_state(), before)
    assert examined() | {"seconds": 0} == first | {"seconds": 0}


def test_language_model(corpus_file, tmp_path):
    run = train_tiny(tiny_recipe(corpus_file, tmp_path / "lm", "model.latent.size=0", "training.max_steps=2"))
    assert run.diagnosis is None
    assert not (run.folder / "doctor.json").exists()
    with pytest.raises(ValueError, match="plain language model"):
        examine_run(run.folder)


def test_a_single_text(trained, split, recipe):
    with pytest.raises(ValueError, match="at least 2 validation texts"):
        examine(trained.vae, split.select([0]), recipe)


def test_numbers_beyond_json_are_null(trained, split, recipe, model):
    """A rate without end, as a posterior without any noise has."""
    with torch.no_grad():
        model.posterior.logvar.weight.zero_()
        model.posterior.logvar.bias.fill_(-math.inf)
    found = examine(TextVAE(model, trained.vae.tokenizer), split, recipe, bf16=False)
    assert found["rate"] is None
    json.dumps(found, allow_nan=False)
    assert findings(found)
    assert advice(found, recipe)  # mutual information is at its cap


# ---- Advice ----

HEALTHY = {
    "sentences": 100,
    "unk_rate": 0.0,
    "rate": 8.0,
    "active_units": 8,
    "latent_size": 8,
    "decoder_ignores_z": False,
    "decoder_hears_little": False,
    "rate_exceeds_gain": False,
    "prior": "standard",
    "only_first_words_and_length": False,
    "prior_and_posterior_overlap": None,
    "prior_off_posterior": 0.9,
    "posterior_off_prior": 0.1,
    "mutual_information_at_cap": False,
}
SPHERE = ["model.latent.posterior=vmf", "model.latent.prior=uniform", "objective={beta: 1}"]
POWER = ["model.latent.posterior=power_spherical", "model.latent.prior=uniform", "objective={beta: 1}"]
STAGES = "training.stages=[{max_steps: 2}, {max_steps: 2, objective: {kind: target_rate, rate: 3}}]"
POINTS = ["model.latent.posterior=deterministic", "objective={beta: 0}"]


@pytest.mark.parametrize(
    ("overrides", "more", "less"),
    [
        ([], ["objective.free_bits", "objective.beta.warmup"], ["objective.beta.max"]),
        (["objective={beta: 1}"], ["objective.free_bits", "objective.beta.schedule"], ["objective.beta.max"]),
        (["objective={kind: iwae}"], ["{kind: elbo"], []),
        (["objective={kind: target_rate}"], ["objective.rate"], ["objective.rate"]),
        (["objective={kind: infovae}"], ["objective.mmd_weight"], ["objective.mmd_weight"]),
        (["objective={kind: infovae, alpha: 0.5}"], ["objective.alpha (now 0.5) towards 1"], ["objective.mmd_weight"]),
        (["objective={beta: 0}"], [], ["objective.beta.max"]),
        ([*SPHERE[:1], "model.latent.prior=vamp", SPHERE[2]], ["concentration", "objective.free_bits"], ["beta.max"]),
        ([STAGES], ["training.stages: 2: objective.rate (now 3.0)"], ["training.stages: 2: objective.rate (now 3.0)"]),
        (["objective={kind: adversarial}"], ["{kind: elbo"], ["objective.weight"]),
        (SPHERE, ["model.latent.posterior.concentration"], ["model.latent.posterior.concentration"]),
        (POWER, ["objective.free_bits", "objective.beta.schedule"], ["objective.beta.max"]),
        (POINTS, [], []),
        ([*POINTS, "objective={kind: infovae}"], ["objective.mmd_weight"], ["objective.mmd_weight"]),
        ([*POINTS, "objective={kind: adversarial}"], ["objective.weight"], ["objective.weight"]),
    ],
)
def test_advice_names_keys_that_there_are(corpus_file, tmp_path, overrides, more, less):
    """And never asks for more rate and for less in one breath."""
    recipe = tiny_recipe(corpus_file, tmp_path, *overrides)
    objective, where = recipe.objective, "objective"
    if overrides == [STAGES]:
        objective, where = recipe.training["stages"][1]["objective"], "training.stages: 2: objective"
    sections = objective, recipe.model["latent"], where
    few = HEALTHY | {"active_units": 3}
    holes = HEALTHY | {"prior_and_posterior_overlap": False}
    assert advice(HEALTHY, recipe) == []
    told = more_rate(*sections)
    assert advice(few, recipe)[: len(told)] == told
    assert advice(few | holes | {"active_units": 3}, recipe)[: len(told)] == told
    assert bool(told) == bool(more)
    assert all(any(key in line for line in told) for key in more)
    nearer = [line for line in advice(holes, recipe) if "nearer to the prior" in line]
    assert len(nearer) == len(less)
    assert all(key in line for key, line in zip(less, nearer, strict=True))
    assert not any("nearer to the prior" in line for line in advice(holes | {"active_units": 3}, recipe))
    on_sphere = registry.part("posterior", recipe.model["latent"]["posterior"]["kind"]).support == "sphere"
    assert any("fit-prior" in line for line in advice(holes, recipe)) == (not on_sphere)


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["model.decoder.word_dropout=0"], "word_dropout (now 0.0) to 0.5 or more"),
        (["model.decoder.word_dropout=0.5"], "word_dropout (now 0.5) to 0.75 or more"),
        (["model.decoder.inject=[initial]"], "concat and output in model.decoder.inject (now initial)"),
        (["model.decoder.inject=[initial, concat, output]"], None),
        (["model.encoder.pooling=rotary"], "rotary in model.decoder.inject (now "),
        (["model.decoder={kind: transformer, inject: [memory]}"], "in model.decoder.inject (now memory)"),
    ],
)
def test_advice_goes_from_what_is(corpus_file, tmp_path, overrides, told):
    """No value is raised to a lower one, and no place named in which z enters already."""
    recipe = tiny_recipe(corpus_file, tmp_path, *overrides)
    lines = advice(HEALTHY | {"decoder_ignores_z": True}, recipe)
    assert any("word_dropout" in line for line in lines)
    if told:
        assert any(told in line for line in lines)
    else:
        assert not any("inject" in line for line in lines)


@pytest.mark.parametrize(("pooling", "told"), [("last", True), ("max", False), ("mean", False), ("rotary", False)])
def test_advice_on_pooling_only_where_it_would_change_something(corpus_file, tmp_path, pooling, told):
    recipe = tiny_recipe(corpus_file, tmp_path, f"model.encoder.pooling={pooling}")
    (line,) = advice(HEALTHY | {"only_first_words_and_length": True}, recipe)
    assert ("model.encoder.pooling: max or mean" in line) == told
    assert "word_dropout (now" in line


# ---- A decoder that hears little, and a scale that nothing sets ----


def unweighted(recipe):
    """The same with an objective that puts no weight on the rate."""
    return dataclasses.replace(
        recipe, objective=registry.resolve("objective", {"kind": "elbo", "beta": 0}, "objective")
    )


def test_a_decoder_that_hears_little_of_a_high_rate(examined, model):
    """z does save it something, but far less than its rate."""
    with torch.no_grad():
        model.posterior.logvar.bias -= 60  # narrow posteriors: a rate of hundreds of nats
    found = examined()
    assert found["z_gain"] > 1
    assert found["rate"] > 10 * found["z_gain"]
    assert found["rate_exceeds_gain"] is None
    assert (found["verdict"], found["decoder_hears_little"]) == ("partial", True)
    assert any("most of what z tells is not heard" in line for line in found["findings"])
    assert any("the decoder hardly listens" in line for line in found["advice"])


def test_a_rate_without_weight_says_nothing_of_the_decoder(trained, split, recipe, model):
    with torch.no_grad():
        model.posterior.logvar.bias -= 60
    free = unweighted(recipe)
    found = examine(TextVAE(model, trained.vae.tokenizer), split, free, bf16=False)
    assert (found["verdict"], found["decoder_hears_little"]) == ("healthy", None)
    assert found["rate"] > found["z_gain"] > 1
    assert found["rate_exceeds_gain"] is True
    assert any("nll and iw_nll say nothing of how good" in line for line in found["findings"])


@pytest.mark.parametrize("free", [None, "objective", "prior"])
def test_a_small_scale_is_no_collapse_where_nothing_sets_it(trained, split, recipe, model, free):
    """The same model with latent vectors a thirtieth as large."""
    with torch.no_grad():
        for values in (model.posterior.mu.weight, model.posterior.mu.bias):
            values /= 30
        model.posterior.logvar.bias -= 2 * math.log(30)
        model.decoder.initial.weight *= 30
        model.decoder.layers[0].weight_ih_l0[:, -8:] *= 30
    if free == "objective":
        recipe = unweighted(recipe)
    model.prior.learned = free == "prior"  # it would have gone where the posteriors are
    found = examine(TextVAE(model, trained.vae.tokenizer), split, recipe, bf16=False)
    assert found["z_gain"] > 2
    assert (found["active_units"], found["verdict"]) == ((8, "healthy") if free else (0, "collapsed"))


@pytest.mark.parametrize("free", ["objective", "prior"])
def test_the_noise_of_a_collapsed_posterior_is_no_scale_of_its_own(trained, split, recipe, model, free):
    """Every dimension is as active as the others, and none is."""
    with torch.no_grad():
        for head in (model.posterior.mu, model.posterior.logvar):
            head.weight *= 1e-4
            head.bias *= 0
    model.prior.learned = free == "prior"
    recipe = unweighted(recipe) if free == "objective" else recipe
    found = examine(TextVAE(model, trained.vae.tokenizer), split, recipe, bf16=False)
    assert 0 < max(found["mu_variance_per_dimension"]) < 1e-4
    exceeds = False if free == "objective" else None
    assert (found["active_units"], found["verdict"], found["rate_exceeds_gain"]) == (0, "collapsed", exceeds)
    assert found["findings"][0].startswith("The posterior has collapsed: none of the 8")


@needs_bfloat16
def test_the_parts_of_the_gain_do_not_depend_on_precision(trained, split, recipe, model):
    """Where the decoder is all but sure that a text ends and it goes on, a rounded logit must not decide."""
    with torch.no_grad():
        model.decoder.softmax_bias[model.config.eos_token_id] += 8
    parts = [f"z_gain_{part}" for part in ("length", "first_words", "other_words")]
    exact, rounded = (
        examine(TextVAE(model, trained.vae.tokenizer), split, recipe, bf16=bf16) for bf16 in (False, True)
    )
    assert [rounded[part] for part in parts] == pytest.approx([exact[part] for part in parts], abs=0.3)


def test_long_texts_are_fewer(trained, split, recipe, model, monkeypatch):
    monkeypatch.setattr("textvae.evaluation.doctor.MOST_TOKENS", 700)
    found = examine(TextVAE(model, trained.vae.tokenizer), split, recipe, bf16=False)
    lengths = [len(trained.vae.tokenizer(text)["input_ids"]) - 1 for text in split["text"][:]]
    assert 40 < found["sentences"] < 1.3 * 700 / (sum(lengths) / len(lengths)) < len(split)


def test_under_a_fitted_prior(trained, split, recipe, tmp_path):
    """Which closes the holes of the model's own: posteriors far from it are where the fitted one is."""
    folder = tmp_path / "run"
    shutil.copytree(trained.folder, folder)
    model = TextVAEModel.from_pretrained(folder)
    with torch.no_grad():
        model.posterior.mu.bias += 20
    model.save_pretrained(folder)
    fit_run_prior(folder, components=4)
    vae = TextVAE.from_pretrained(folder)
    own, fitted = (
        examine(vae, split, recipe, bf16=False, prior=vae.wanted_prior(prior)) for prior in ("model", "fitted")
    )
    assert (own["prior"], fitted["prior"]) == ("standard", "fitted mixture of 4")
    assert own["prior_off_posterior"] == 1
    assert any("`textvae fit-prior RUN`, then" in line for line in own["advice"])
    assert not any("then `textvae sample" in line for line in fitted["advice"])
    assert fitted["prior_off_posterior"] < 0.5
    assert fitted["rate"] < own["rate"] - 1000
    own, fitted = (examine_run(folder, prior=prior) for prior in ("model", "fitted"))
    assert fitted["rate"] < own["rate"] - 1000
    with pytest.raises(ValueError, match="prior: 'fited' is not known"):
        examine_run(folder, prior="fited")


TOLD = {"z_gain": 4.0, "z_gain_stderr": 0.1, "z_gain_length": 1.0, "z_gain_first_words": 1.0, "z_gain_other_words": 2.0}


def test_one_dimension_in_words():
    assert findings(HEALTHY | TOLD | {"latent_size": 1, "active_units": 1})[0].endswith("its one dimension is active.")
    told = findings(HEALTHY | TOLD | {"decoder_ignores_z": True})[0]
    assert told == "The posterior's mean differs from text to text in 8 of 8 dimensions."


def test_texts_of_unknown_words(corpus_file, tmp_path):
    """Of which every posterior is the same: the tokenizer is to blame, and told first, in training as well."""
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    words = corpus_file.read_text().splitlines()
    for split, lines in (("train", words), ("valid", [f"w{n}" for n in range(20)]), ("test", words[:9])):
        (corpus / f"{split}.txt").write_text("\n".join(lines) + "\n")
    run = train_tiny(tiny_recipe(corpus, tmp_path / "run", "training.max_steps=3"))
    told = "validation: 50% of the tokens are the unknown word; set tokenizer.kind to bpe"
    assert any(notice.startswith(told) for notice in run.corpus.notices)
    found = run.diagnosis
    assert (found["unk_rate"], found["verdict"]) == (0.5, "collapsed")
    assert found["findings"][0].startswith("50% of the tokens are the unknown word")
    assert found["advice"][0].startswith("First of all: set tokenizer.kind to bpe")
    assert found["findings"][-1] == "There are only 20 validation texts: all of this may be chance."


def test_known_words_and_many_texts_are_not_talked_about(examined):
    told = " ".join(examined()["findings"])
    assert "unknown" not in told
    assert "chance" not in told
