"""What latent vectors know of labels: a linear and a nearest-neighbour probe.

Shapes: N texts, D latent dimensions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from torch import Tensor

# Texts that the probes learn from, at most; neighbours that vote.
MOST_TEXTS, NEIGHBORS = 20_000, 10


def check_labels(labels: Sequence[str], test_labels: Sequence[str]) -> None:
    """Refuses what no probe could tell.

    Args:
        labels: of the training split.
        test_labels: of the split that is measured.

    Raises:
        ValueError: fewer than two labels to tell apart, or nothing to measure on.
    """
    count = len(set(labels))
    if count < 2 or not test_labels:
        raise ValueError(f"--probes: {count} labels in training, {len(test_labels)} labelled texts to measure on")


def probe_labels(mu: Tensor, labels: Sequence[str], test_mu: Tensor, test_labels: Sequence[str]) -> dict[str, Any]:
    """Accuracy of labels read off posterior means.

    The linear probe is a logistic regression on standardised dimensions, the other a vote of the 10 nearest (or as
    many as there are) by Euclidean distance.

    Args:
        mu: (N,D) posterior means of the training split.
        labels: their labels.
        test_mu: (M,D) posterior means of the split that is measured.
        test_labels: their labels.

    Returns:
        probe_linear, probe_knn: accuracy, 0-1; probe_majority: accuracy of always saying the commonest training label;
        probe_labels, probe_texts: labels and texts learnt from.

    Raises:
        ValueError: fewer than two labels to tell apart, or nothing to measure on.

    Source: Alain & Bengio 2016, arXiv 1610.01644, for linear probes.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    check_labels(labels, test_labels)
    counts = Counter(labels)
    linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    nearest = KNeighborsClassifier(min(NEIGHBORS, len(labels)))
    (common, _), *_ = counts.most_common(1)
    return {
        "probe_linear": float(linear.fit(mu.numpy(), labels).score(test_mu.numpy(), test_labels)),
        "probe_knn": float(nearest.fit(mu.numpy(), labels).score(test_mu.numpy(), test_labels)),
        "probe_majority": sum(label == common for label in test_labels) / len(test_labels),
        "probe_labels": len(counts),
        "probe_texts": len(labels),
    }
