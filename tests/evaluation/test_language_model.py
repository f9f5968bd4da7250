"""The language model that measures samples: it learns, and its perplexities tell good samples from bad."""

import math

import pytest
import torch

from textvae import TextVAE, TextVAEModel, evaluate_run
from textvae.data.encoding import encode_texts
from textvae.evaluation.language_model import perplexities, ppl, train_language_model
from textvae.evaluation.likelihood import evaluate_bound
from textvae.evaluation.run import Extras
from textvae.tokenization import TokenizerConfig, make_tokenizer


@pytest.fixture(scope="module")
def source():
    """Texts of four words, each drawn uniformly from eight: 4 log 8 nats for 5 tokens."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(8, (1200, 4), generator=generator).tolist()
    texts = [" ".join("abcdefgh"[i] for i in row) for row in rows]
    tokenizer = make_tokenizer(TokenizerConfig(kind="word"), texts)
    return encode_texts(texts[:1000], tokenizer), encode_texts(texts[1000:], tokenizer), tokenizer


@pytest.fixture(scope="module")
def config(source, trained):
    config = type(trained.vae.model.config)(vocab_size=len(source[2]))
    config.pad_token_id, config.eos_token_id = source[2].pad_token_id, source[2].eos_token_id
    return config


def test_it_reaches_the_entropy_of_its_source(source, config):
    train, test, _ = source
    model = train_language_model(train, config, 120, bf16=False)
    entropy = math.exp(4 * math.log(8) / 5)
    assert ppl(model, test, bf16=False) == pytest.approx(entropy, rel=0.05)
    assert model.config.latent_size == 0


def test_perplexity_is_a_quotient_of_sums(source, config):
    """Over all tokens of a corpus, whose texts have different lengths, and no mean of the texts' own."""
    texts = ["a", "b c d e f g h a", "c d", "e e e e"]
    dataset = encode_texts(texts, source[2])
    torch.manual_seed(0)
    model = TextVAEModel(type(config)(**config.to_dict() | {"latent": {"size": 0}})).eval()
    nll = evaluate_bound(model, dataset, bf16=False).distortion
    lengths = torch.tensor([len(text.split()) + 1 for text in texts])
    expected = float((nll.sum() / lengths.sum()).exp())
    assert ppl(model, dataset, bf16=False) == pytest.approx(expected, rel=1e-5)
    assert abs(float((nll / lengths).mean().exp()) - expected) > 1e-4 * expected


def test_training_repeats_and_leaves_the_global_generator_alone(source, config):
    before = torch.get_rng_state()
    steps = []
    one, two = (train_language_model(source[0], config, 6, 3, False, steps.append) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert steps == [1, 2, 3, 4, 5, 6] * 2


def test_the_best_weights_on_held_out_texts_are_kept(source, config):
    """More steps than forty texts can take: the end has learnt them by heart, which no held-out text rewards."""
    few = source[0].select(range(40))
    model = train_language_model(few, config, 120, bf16=False)
    assert ppl(model, few, bf16=False) > 2.5  # by heart it would be near the fifth root of 40, and below 2.1


def test_beside_an_encoder_with_ids_of_its_own(source, config):
    """A language model has no encoder to read them."""
    own = type(config)(**config.to_dict() | {"encoder_pad_token_id": 0})
    assert ppl(train_language_model(source[0], own, 1, bf16=False), source[1], bf16=False) > 1


def test_too_few_texts(source, config):
    with pytest.raises(ValueError, match="at least 2 texts; there are 1"):
        train_language_model(source[0].select([0]), config, 5)


def test_forward_and_reverse(trained):
    """A model that says one thing is about as fluent as another (forward), and far poorer (reverse)."""
    train, test = trained.splits["train"]["text"][:], trained.splits["test"]
    good, lm = perplexities(trained.vae, train, test, 50, bf16=False)
    assert ppl(lm.model, test, False) == good["real_ppl"]
    model = TextVAEModel.from_pretrained(trained.folder)
    with torch.no_grad():
        model.decoder.initial.weight.zero_()
        model.decoder.layers[0].weight_ih_l0[:, -8:] = 0
    model.generation_config.do_sample = False
    model.generation_config.top_p = model.generation_config.top_k = None
    one = TextVAE(model, trained.vae.tokenizer)
    assert len(set(one.sample(5, seed=0, do_sample=False))) == 1
    poor, _ = perplexities(one, train, test, 50, bf16=False)
    assert poor["real_ppl"] == good["real_ppl"]
    assert poor["forward_ppl"] < 1.3 * good["forward_ppl"]
    assert poor["reverse_ppl"] > 3 * good["reverse_ppl"] > good["real_ppl"]
    assert (good["lm_steps"], good["lm_texts"]) == (50, len(train))


def test_through_a_run(trained):
    metrics, *_ = evaluate_run(trained.folder, "test", 1, extras=Extras(perplexities=True, lm_steps=3, paths=2))
    assert metrics["lm_steps"] == 3
    assert metrics["lm_texts"] == len(trained.splits["train"])
    assert all(metrics[key] > 1 for key in ("forward_ppl", "reverse_ppl", "real_ppl"))
    assert metrics["path_lm_nll"] > 1  # under the language model of the training texts
