"""What a recipe says of a stage of training."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from textvae import registry
from textvae.validation import Section

PAST_DECODER = ("words", "text_without_backbone")  # what a stage predicts past the decoder's states


class Stage(Section):
    """One stage of training.

    Progress and the schedule of the learning rate run from their beginning to their end in each stage.

    Args:
        max_steps: updates.
        objective: as the section `objective`, in place of it; null for that section.
        reset: parts of the model that start anew: encoder, posterior, prior, decoder.
        learning_rate: in place of `training.learning_rate`; null for that one.
        predicts: text; words, which z alone predicts in any order; or text_without_backbone, which what is beside a
            pretrained decoder predicts on its own. Both go past the states of the decoder, which are not even computed:
            steps that take little time, after which z knows what to say. They need output in `model.decoder.inject`,
            or `model.decoder.beside`, and a stage after them that predicts the text.

    Source: Li et al. 2019, arXiv 1909.00868 (autoencoder, then a new decoder and free bits); Zhao et al. 2017, arXiv
    1703.10960 (bag-of-word loss).
    """

    max_steps: int = Field(ge=1)
    objective: dict[str, Any] | None = None
    reset: tuple[Literal["encoder", "posterior", "prior", "decoder"], ...] = ()
    learning_rate: float | None = Field(None, gt=0)
    predicts: Literal["text", "words", "text_without_backbone"] = "text"

    @field_validator("objective", mode="before")
    @classmethod
    def _known(cls, value: Any) -> dict[str, Any] | None:
        if value is None:
            return None
        return registry.resolve("objective", value, "objective", default=registry.DEFAULT_KINDS["objective"])


def check_stages(stages: list[dict[str, Any]], model: dict[str, Any]) -> None:
    """Refuses stages past the decoder where z has no way to the softmax, or that leave the decoder untrained.

    Args:
        stages: of the recipe.
        model: its section `model`, resolved.
    """
    inject = model["decoder"].get("inject", ())  # a decoder from elsewhere may lack the key
    for number, stage in enumerate(stages, 1):
        what = stage.get("predicts", "text")
        where = f"training.stages: {number}: predicts: {what}"
        if what in PAST_DECODER and number == len(stages):
            raise ValueError(f"{where} does not train the decoder; add a stage that predicts the text")
        if what == "words" and "output" not in inject:
            raise ValueError(f"{where} needs output in model.decoder.inject, which is [{', '.join(inject)}]")
        if what == "text_without_backbone" and not model["decoder"].get("beside"):
            raise ValueError(f"{where} needs model.decoder.beside, keys of a decoder beside a pretrained one")
