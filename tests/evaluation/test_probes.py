"""Probes of labels: what a line can tell, what only neighbours can, and what nobody can."""

import json

import pytest
import torch

from tests.tiny import tiny_recipe, train_tiny
from textvae import evaluate_run
from textvae.evaluation.probes import probe_labels
from textvae.evaluation.run import Extras


def quadrants(n, seed):
    """Points in the plane, and which half and which pair of opposite quadrants they lie in."""
    z = 4 * torch.rand(n, 2, generator=torch.Generator().manual_seed(seed)) - 2
    halves = ["right" if x > 0 else "left" for x in z[:, 0]]
    crossed = ["same" if x > 0 else "other" for x in z.prod(1)]
    return z, halves, crossed


def test_probes():
    (z, halves, crossed), (test_z, test_halves, test_crossed) = quadrants(2000, 0), quadrants(1000, 1)
    line = probe_labels(z, halves, test_z, test_halves)
    assert line["probe_linear"] > 0.99
    assert line["probe_knn"] > 0.95
    bent = probe_labels(z, crossed, test_z, test_crossed)
    assert bent["probe_linear"] < 0.6  # no line can
    assert bent["probe_knn"] > 0.95
    chance = probe_labels(z, crossed, test_z.flip(0), test_halves)
    assert chance["probe_linear"] < 0.6
    assert chance["probe_knn"] < 0.6
    assert (line["probe_labels"], line["probe_texts"]) == (2, 2000)


def test_majority():
    found = probe_labels(torch.randn(5, 3), ["a", "b", "b", "b", "c"], torch.randn(4, 3), ["a", "b", "a", "a"])
    assert found["probe_majority"] == 0.25
    assert (found["probe_labels"], found["probe_texts"]) == (3, 5)


@pytest.mark.parametrize(("train", "test"), [(["a", "a"], ["a"]), (["a", "b"], [])])
def test_nothing_to_tell_apart(train, test):
    with pytest.raises(ValueError, match="--probes: "):
        probe_labels(torch.zeros(2, 1), train, torch.zeros(len(test), 1), test)


def test_through_a_run(trained, corpus_file, tmp_path):
    """The label is the subject, which the latent vectors of these sentences tell; texts without one are left out."""
    rows = [
        {"text": text, "label": None if number % 10 == 0 else text.split()[1]}
        for number, text in enumerate(corpus_file.read_text().splitlines())
    ]
    labelled = tmp_path / "labelled.jsonl"
    labelled.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = train_tiny(tiny_recipe(labelled, tmp_path / "run", "data.label_column=label", "data.test_size=0.2"))
    metrics, *_ = evaluate_run(run.folder, "test", 1, extras=Extras(probes=True))
    assert metrics["probe_labels"] == 8
    assert metrics["probe_texts"] == sum(label is not None for label in run.corpus.splits["train"]["label"])
    assert metrics["probe_linear"] > metrics["probe_majority"] + 0.1
    with pytest.raises(ValueError, match="--probes: the corpus has no labels"):
        evaluate_run(trained.folder, "test", 1, extras=Extras(probes=True))
