"""InfoVAE: what it adds up."""

import pytest
import torch

from tests.objectives.test_contract import make_output
from textvae import registry
from textvae.objectives.divergences import mmd


def build(**config):
    return registry.build("objective", {"kind": "infovae", **config}, 4)


@pytest.mark.parametrize(
    ("alpha", "mmd_weight", "rate_weight", "discrepancy_weight"), [(1.0, 50.0, 0, 50.0), (0.25, 3.0, 0.75, 2.25)]
)
@pytest.mark.parametrize("kernel", ["imq", "gaussian"])
def test_value(alpha, mmd_weight, rate_weight, discrepancy_weight, kernel):
    output = make_output(1)
    torch.manual_seed(3)
    discrepancy = mmd(output.z[0], output.sample_prior(6), kernel, 2 * output.z.shape[2])
    torch.manual_seed(3)
    result = build(alpha=alpha, mmd_weight=mmd_weight, kernel=kernel)(output, 0.0)
    expected = output.distortion.mean() + rate_weight * output.rate.mean() + discrepancy_weight * discrepancy
    torch.testing.assert_close(result.loss, expected)
    assert result.logs["mmd"] == discrepancy
    assert result.beta == rate_weight


def test_one_sentence_has_no_discrepancy():
    """The last batch of an epoch may be that small."""
    output = make_output(1)
    output.z, output.distortion = output.z[:, :1], output.distortion[:, :1]
    result = build()(output, 0.0)
    torch.testing.assert_close(result.loss, output.distortion.mean())
    assert result.logs == {}


@pytest.mark.parametrize(("alpha", "expected"), [(1.0, "distortion"), (0.9, "nll")])
def test_selects_by(alpha, expected):
    assert build(alpha=alpha).selects_by == expected
