"""Every number of a split: its keys, its units, and that it is what docs/metrics.md says."""

import json
import math

import pytest
import torch

from tests.tiny import RECIPE
from textvae import TextVAE, TextVAEConfig, TextVAEModel
from textvae.data.encoding import encode_texts
from textvae.evaluation.latent import active_units
from textvae.evaluation.likelihood import evaluate_bound, importance_weighted_nll
from textvae.evaluation.report import KEYS, defined, evaluate_split, reconstruction, tokenizer_for_bleu, write_json
from textvae.evaluation.text import bleu, distinct, self_bleu, token_accuracy
from textvae.tokenization import TokenizerConfig, make_tokenizer

# As design and documentation list them.
DOCUMENTED = [
    "split",
    "prior",
    "sentences",
    "tokens",
    "nll",
    "distortion",
    "rate",
    "elbo",
    "ppl",
    "bits_per_byte",
    "iw_nll",
    "iw_samples",
    "iw_nll_stderr",
    "iw_ppl",
    "mutual_information",
    "mutual_information_cap",
    "mutual_information_sentences",
    "marginal_kl",
    "active_units",
    "mu_variance_per_dimension",
    "rate_per_dimension",
    "latent_size",
    "reconstruction_bleu",
    "token_accuracy",
    "exact_match",
    "self_bleu",
    "distinct_1",
    "distinct_2",
    "copied_from_train",
    "unk_rate",
    "seconds",
    "prior_samples",
    "bleu_signature",
]
LATENT = [
    "prior",
    "rate",
    "iw_samples",
    "mutual_information",
    "mutual_information_cap",
    "mutual_information_sentences",
    "marginal_kl",
    "active_units",
    "mu_variance_per_dimension",
    "rate_per_dimension",
]
RECONSTRUCTION = ["reconstruction_bleu", "token_accuracy", "exact_match", "bleu_signature"]


@pytest.fixture(scope="module")
def dataset(trained):
    return trained.splits["test"]


@pytest.fixture(scope="module")
def metrics(trained, dataset):
    train = [trained.splits["train"]["text"][:]]
    return evaluate_split(
        trained.vae, dataset, "test", 7, prior_samples=60, train_texts=train, seed=3, bf16=False
    ).metrics


def test_keys(metrics):
    assert sorted(KEYS) == sorted(DOCUMENTED)
    assert list(metrics) == list(KEYS)
    assert not [key for key, value in metrics.items() if value is None]
    assert all(math.isfinite(value) for value in metrics.values() if not isinstance(value, str | list))


def test_each_dimension(metrics):
    """The rates add up to the rate, and the variances are what active units are counted from."""
    rates, variances = metrics["rate_per_dimension"], metrics["mu_variance_per_dimension"]
    assert len(rates) == len(variances) == metrics["latent_size"]
    assert sum(rates) == pytest.approx(metrics["rate"], rel=1e-5)
    assert min(rates) >= 0
    assert sum(variance > 0.01 for variance in variances) == metrics["active_units"]


def test_counts(metrics, dataset, trained):
    texts = dataset["text"][:]
    assert metrics["split"] == "test"
    assert metrics["sentences"] == len(texts)
    assert metrics["tokens"] == sum(len(text.split()) + 1 for text in texts)  # eos is predicted, bos is not
    assert metrics["latent_size"] == 8
    assert metrics["iw_samples"] == 7
    assert metrics["prior_samples"] == 60
    assert metrics["unk_rate"] == 0


def test_likelihood(metrics, dataset, trained):
    bound = evaluate_bound(trained.vae.model, dataset, seed=3, bf16=False)
    iw = importance_weighted_nll(trained.vae.model, dataset, 7, 4, False)
    evaluation = evaluate_split(trained.vae, dataset, "test", 7, prior_samples=0, seed=3, bf16=False)
    assert torch.equal(evaluation.iw_nll, iw)
    assert torch.equal(evaluation.bound.nll, bound.nll)
    n, tokens = len(dataset), metrics["tokens"]
    total_bytes = sum(len(text.encode()) for text in dataset["text"])
    assert metrics["nll"] == pytest.approx(float(bound.nll.mean()), rel=1e-5)
    assert metrics["nll"] == pytest.approx(metrics["distortion"] + metrics["rate"])
    assert metrics["elbo"] == -metrics["nll"]
    assert metrics["ppl"] == pytest.approx(math.exp(metrics["nll"] * n / tokens))
    assert metrics["bits_per_byte"] == pytest.approx(metrics["nll"] * n / math.log(2) / total_bytes)
    assert metrics["iw_nll"] == pytest.approx(float(iw.mean()), rel=1e-5)
    assert metrics["iw_nll"] < metrics["nll"]
    assert metrics["iw_ppl"] == pytest.approx(math.exp(metrics["iw_nll"] * n / tokens))
    assert metrics["iw_nll_stderr"] == pytest.approx(float(iw.std()) / math.sqrt(n), rel=1e-5)


def test_latent(metrics, dataset, trained):
    mu = trained.vae.encode(dataset["text"][:])
    assert metrics["active_units"] == active_units(mu) == int((mu.var(0) > 0.01).sum())
    assert metrics["mutual_information_cap"] == pytest.approx(math.log(len(dataset)))
    assert metrics["mutual_information_sentences"] == len(dataset)
    assert metrics["marginal_kl"] == pytest.approx(metrics["rate"] - metrics["mutual_information"])
    assert 0 < metrics["mutual_information"] <= min(metrics["mutual_information_cap"], metrics["rate"] + 0.5)


def test_reconstruction(metrics, dataset, trained):
    texts = dataset["text"][:]
    copies = trained.vae.reconstruct(texts, allow_unknown=True, max_new_tokens=30)
    ids = [trained.vae.tokenizer(text)["input_ids"][1:] for text in texts]
    copied = [trained.vae.tokenizer(copy)["input_ids"][1:] for copy in copies]
    score, signature = bleu(copies, texts, "none")
    assert metrics["reconstruction_bleu"] == pytest.approx(score)
    assert metrics["bleu_signature"] == signature
    assert metrics["exact_match"] == sum(a == b for a, b in zip(texts, copies, strict=True)) / len(texts)
    assert metrics["token_accuracy"] == pytest.approx(token_accuracy(ids, copied))


def test_what_fills_a_row_behind_its_end_is_no_hit(trained, dataset, monkeypatch):
    """Padding may be the id that ends texts, as with T5."""
    vae, texts = trained.vae, dataset.select([0, 1])
    bos, eos = vae.tokenizer.bos_token_id, vae.tokenizer.eos_token_id
    longest = max(len(ids) for ids in texts["ids"])
    rows = torch.full((2, longest + 5), eos)
    rows[:, 0] = bos
    monkeypatch.setattr(vae.model, "generate", lambda **options: rows)
    found = reconstruction(vae, torch.zeros(2, vae.latent_size), texts, False, lambda done: None)
    assert found["token_accuracy"] == 0


def test_prior_samples(metrics, trained):
    samples = trained.vae.sample(60, seed=3)
    train = set(trained.splits["train"]["text"][:])
    assert metrics["self_bleu"] == self_bleu(samples, False)
    assert metrics["distinct_1"] == distinct(samples, False, 1)
    assert metrics["distinct_2"] == distinct(samples, False, 2)
    assert metrics["copied_from_train"] == sum(sample in train for sample in samples) > 0


def test_curve(trained, dataset, monkeypatch):
    """The bound with fewer samples, from the first of the same samples; other numbers as without."""
    plain = evaluate_split(trained.vae, dataset, "test", 60, 0, bf16=False).metrics
    metrics = evaluate_split(trained.vae, dataset, "test", 60, 0, bf16=False, curve=True).metrics
    added = {key: metrics.pop(key) for key in set(metrics) - set(plain)}
    assert metrics | {"seconds": 0} == plain | {"seconds": 0}
    assert added.keys() == {"iw_nll_k1", "iw_nll_k10", "iw_nll_k50", "iw_nll_k60"}
    assert added["iw_nll_k60"] == metrics["iw_nll"]
    assert added["iw_nll_k1"] > added["iw_nll_k10"] > added["iw_nll_k60"]


def test_order_and_batches_do_not_matter(trained, dataset, metrics):
    """The same texts the other way round: all that does not draw z is the same."""
    backwards = dataset.select(range(len(dataset) - 1, -1, -1))
    turned = evaluate_split(trained.vae, backwards, "test", 1, 0, bf16=False).metrics
    for key in ("rate", "active_units", "reconstruction_bleu", "token_accuracy", "exact_match", "tokens"):
        assert turned[key] == pytest.approx(metrics[key], rel=1e-4)
    assert turned["prior_samples"] is None


def test_evaluation_repeats_and_draws_nothing_from_the_global_generator(trained, dataset):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = evaluate_split(trained.vae, dataset, "test", 3, 20, seed=5).metrics
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    second = evaluate_split(trained.vae, dataset, "test", 3, 20, seed=5).metrics
    assert first | {"seconds": 0} == second | {"seconds": 0}


def test_progress(trained, dataset):
    seen = []
    evaluate_split(trained.vae, dataset, "test", 2, 5, progress=lambda *step: seen.append(step))
    assert {stage for stage, _, _ in seen} == {"bound", "iw_nll, 2 samples", "reconstruction"}
    for stage in ("bound", "reconstruction"):
        counts = [(done, total) for name, done, total in seen if name == stage]
        assert counts == sorted(counts)
        assert counts[-1] == (len(dataset), len(dataset))


def test_language_model(tokenizer, texts):
    """No latent: its numbers are null, and the bound is the exact likelihood."""
    torch.manual_seed(0)
    config = TextVAEConfig(vocab_size=len(tokenizer), latent={"size": 0}, decoder=RECIPE["model"]["decoder"])
    vae = TextVAE(TextVAEModel(config), tokenizer)
    vae.model.generation_config.max_new_tokens = 9
    metrics = evaluate_split(vae, encode_texts(texts[:20], tokenizer), "validation", 9, 20, train_texts=[texts]).metrics
    assert [key for key, value in metrics.items() if value is None] == [
        key for key in KEYS if key in LATENT + RECONSTRUCTION
    ]
    assert metrics["latent_size"] == 0
    assert metrics["nll"] == metrics["distortion"] == pytest.approx(metrics["iw_nll"])
    with torch.no_grad():
        ids = torch.tensor([tokenizer(texts[0])["input_ids"]])
        log_p = vae.model(ids[:, :-1], z=torch.zeros(1, 0)).logits.log_softmax(-1)
        nll = -log_p.gather(2, ids[:, 1:, None]).sum()
    one = evaluate_split(vae, encode_texts(texts[:1], tokenizer), "validation", 1, 0, bf16=False).metrics
    assert one["nll"] == pytest.approx(float(nll), rel=1e-5)
    assert one["iw_nll_stderr"] is None  # a single text has no spread


@pytest.mark.parametrize(
    ("text", "lossless"),
    [("the cat sees something", True), ("the zebra sees something", False)],
)
def test_bits_per_byte_only_where_texts_come_back(trained, text, lossless):
    metrics = evaluate_split(trained.vae, encode_texts([text], trained.vae.tokenizer), "test", 1, 0).metrics
    assert (metrics["bits_per_byte"] is not None) is lossless
    assert metrics["unk_rate"] == (0 if lossless else 1 / 5)


def test_references_may_hold_the_unknown_word(trained):
    """So reconstruction may generate it, which nothing else does."""
    model = TextVAEModel.from_pretrained(trained.folder)
    with torch.no_grad():
        model.decoder.softmax_bias[model.config.unk_token_id] = 100
    vae = TextVAE(model, trained.vae.tokenizer)
    metrics = evaluate_split(vae, encode_texts(["zebras never"], vae.tokenizer), "test", 1, 20).metrics
    assert metrics["token_accuracy"] == pytest.approx(2 / 3)  # all but eos
    assert not any("<unk>" in text for text in vae.sample(20, seed=0))


@pytest.mark.parametrize(
    ("config", "chinese", "expected"),
    [
        ({"kind": "word"}, False, "none"),
        ({"kind": "word"}, True, "zh"),
        ({"kind": "char"}, False, "13a"),
        ({"kind": "char"}, True, "zh"),
        ({"kind": "bpe", "vocab_size": 300}, False, "13a"),
        ({"kind": "unigram", "vocab_size": 300}, False, "13a"),
    ],
)
def test_tokenizer_for_bleu(trained, texts, config, chinese, expected):
    vae = TextVAE(trained.vae.model, make_tokenizer(TokenizerConfig(**config), texts))
    assert tokenizer_for_bleu(vae, chinese) == expected


def test_a_likelihood_beyond_numbers_is_null(trained, dataset):
    model = TextVAEModel.from_pretrained(trained.folder)
    with torch.no_grad():
        model.decoder.softmax_bias[model.config.pad_token_id] = 1e6
    metrics = evaluate_split(TextVAE(model, trained.vae.tokenizer), dataset, "test", 1, 0).metrics
    assert metrics["nll"] > 1e6
    assert metrics["ppl"] is None
    json.dumps(metrics, allow_nan=False)


def test_write_json(tmp_path, metrics):
    write_json(tmp_path / "m.json", metrics | {"split": "月"})
    content = (tmp_path / "m.json").read_text(encoding="utf-8")
    assert json.loads(content) == metrics | {"split": "月"}
    assert "月" in content
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "nan.json", {"nll": math.nan})
    assert not (tmp_path / "nan.json").exists()


def test_what_is_not_finite_is_left_out_and_told(caplog):
    metrics = {"a": 1.0, "b": math.nan, "c": [1.0, math.inf], "d": None, "e": "word", "f": 3}
    assert defined(metrics) == {"a": 1.0, "b": None, "c": None, "d": None, "e": "word", "f": 3}
    told = [record.getMessage() for record in caplog.records]
    assert told == ["b: not finite, so it is left out", "c: not finite, so it is left out"]
