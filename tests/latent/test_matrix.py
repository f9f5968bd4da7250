"""docs/priors.md says what the code does."""

from pathlib import Path

import pytest

from textvae import registry
from textvae.configuration import TextVAEConfig, refusal

TEXT = (Path(__file__).parents[2] / "docs" / "priors.md").read_text(encoding="utf-8")


def printed_matrix() -> dict[tuple[str, str], str]:
    lines = TEXT.split("## Which go together")[1].strip().split("\n\n")[0].splitlines()
    header, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {(row[0], prior): cell for row in rows[1:] for prior, cell in zip(header[1:], row[1:], strict=True)}


def test_the_printed_matrix_is_complete():
    pairs = {(q, p) for q in registry.kinds("posterior") for p in registry.kinds("prior")}
    assert printed_matrix().keys() == pairs


@pytest.mark.parametrize("family", ["posterior", "prior"])
def test_every_kind_is_described(family):
    assert all(f"\n| `{kind}` |" in TEXT for kind in registry.kinds(family))


@pytest.mark.parametrize(("posterior", "prior"), printed_matrix())
def test_the_printed_matrix_is_what_configuration_does(posterior, prior):
    latent = {"posterior": posterior, "prior": prior}
    if printed_matrix()[posterior, prior] == "yes":
        assert TextVAEConfig(vocab_size=30, latent=latent).latent["prior"]["kind"] == prior
        return
    assert printed_matrix()[posterior, prior] == "no"
    with pytest.raises(ValueError, match=f"^model.latent.prior: '{prior}' does not go with") as error:
        TextVAEConfig(vocab_size=30, latent=latent)
    assert refusal(posterior, prior) in str(error.value)
    assert "\n" not in str(error.value)
