"""Greedy decoding and sampling for many latent vectors at once, as fast as the decoder lets them be.

The same texts as transformers' own loop gives for greedy decoding, and the same distribution over texts for sampling;
sentences that have ended leave the batch, so that long ones do not make short ones wait.

Shapes: N rows in the batch, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteriaList,
    SuppressTokensLogitsProcessor,
    TopPLogitsWarper,
)

# Likeliest tokens among which a nucleus is looked for before the whole vocabulary is sorted.
PREFILTER = 1024
# Smallest nucleus that is drawn from by drawing again: of a smaller one, more than half of the draws would be outside.
LEAST_REDRAWN = 0.5
# Rows leave the batch once this share of it has ended: the states of those that stay have to be copied.
ENDED_SHARE = 1 / 8
# Tokens between two looks at which rows have ended: an accelerator has to wait for each look.
CHECK_EVERY = {"cpu": 1}
CHECK_EVERY_ELSEWHERE = 8


class NucleusFilter(LogitsProcessor):
    """Keeps the likeliest tokens that hold a share of the probability, without sorting the vocabulary.

    Args:
        top_p: the share.
        min_tokens_to_keep: likeliest tokens that stay whatever they hold.
        prefilter: tokens that are sorted at first; rows whose nucleus is larger are sorted whole.

    Source: Holtzman et al. 2020, arXiv 1904.09751, section 3.1.
    """

    def __init__(self, top_p: float, min_tokens_to_keep: int = 1, prefilter: int = PREFILTER):
        self.top_p = top_p
        self.min_tokens_to_keep = min_tokens_to_keep
        self.prefilter = prefilter

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """(N,T) ids so far and (N,V) scores -> (N,V), minus infinity outside of the nucleus."""
        size = scores.shape[-1]
        probabilities = scores.softmax(-1)
        count = min(max(self.prefilter, self.min_tokens_to_keep), size)
        top, tokens = probabilities.topk(count)
        undecided = top.sum(-1) < self.top_p
        filtered = self._filter(scores, top, tokens)
        if count < size and undecided.any():
            filtered[undecided] = self._filter(scores[undecided], *probabilities[undecided].sort(descending=True))
        return filtered

    def _filter(self, scores: Tensor, top: Tensor, tokens: Tensor) -> Tensor:
        keep = top.cumsum(-1) - top < self.top_p  # what likelier tokens hold
        keep[:, : self.min_tokens_to_keep] = True
        kept = scores.gather(-1, tokens).masked_fill_(~keep, -torch.inf)
        return torch.full_like(scores, -torch.inf).scatter_(-1, tokens, kept)


class Suppressed(LogitsProcessor):
    """Rules tokens out, in place: the scores of a step are nobody else's.

    Args:
        tokens: ids.
    """

    def __init__(self, tokens: Tensor):
        self.tokens = tokens

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """(N,T) ids so far and (N,V) scores -> (N,V)."""
        tokens = self.tokens[(self.tokens >= 0) & (self.tokens < scores.shape[1])]
        return scores.index_fill_(1, tokens.to(scores.device), -torch.inf)


def draw(scores: Tensor, top_p: float = 1.0) -> Tensor:
    """Draws a token a row from softmax(scores), or from its nucleus, with about one random number a row.

    torch.multinomial draws one for each token of the vocabulary, which takes longer than a decoder's step. And nothing
    is sorted for a nucleus: a token is in it if all likelier ones together hold less than `top_p`, so a token of the
    whole vocabulary is drawn, and drawn again where it is not in the nucleus, which happens with probability
    1 - top_p at most. Of tokens that are equally likely at the nucleus's border, all are in it.

    Args:
        scores: (N,V).
        top_p: share of the probability that the nucleus holds.

    Returns:
        (N,) ids, never one with a score of minus infinity.

    Source: Holtzman et al. 2020, arXiv 1904.09751, section 3.1.
    """
    probabilities = scores.softmax(-1)
    share = probabilities.cumsum(-1)
    token = _point_in(share)
    if top_p >= 1:
        return token
    rows = torch.arange(len(scores), device=scores.device)
    while len(rows):
        chosen = probabilities.gather(1, token[rows, None])
        outside = (probabilities * (probabilities > chosen)).sum(-1) >= top_p
        rows, probabilities, share = rows[outside], probabilities[outside], share[outside]
        token[rows] = _point_in(share)
    return token


def _point_in(share: Tensor) -> Tensor:
    """A token a row by its running total of probability (N,V)."""
    # In (0, 1]: the token found is the first whose running total reaches the draw, so it holds some probability.
    point = (1 - torch.rand(len(share), 1, device=share.device)) * share[:, -1:]
    return torch.searchsorted(share, point).squeeze(-1)


def decode_rows(
    model,
    input_ids: Tensor,
    logits_processor: LogitsProcessorList,
    stopping_criteria: StoppingCriteriaList,
    generation_config: GenerationConfig,
    **kwargs,
) -> Tensor:
    """A decoding loop for `model.generate(custom_generate=...)`: greedy, or sampling if do_sample.

    Args:
        model: a TextVAEModel.
        input_ids: (N,T) first tokens.
        logits_processor, stopping_criteria, generation_config: as prepared by `generate`.
        **kwargs: of the model, among them z (N,D) and the decoder's empty state as past_key_values; `generate` would
            not repeat z for several sequences a latent if it were a parameter of its own.

    Returns:
        (N, longest) ids, rows that ended early filled with pad.
    """
    processors, top_p = _faster(logits_processor, input_ids.device.type == "cpu")
    every = CHECK_EVERY.get(input_ids.device.type, CHECK_EVERY_ELSEWHERE)
    rows, columns = input_ids.shape
    pad = generation_config.pad_token_id
    longest = generation_config.max_length
    output = input_ids.new_full((rows, longest), pad)
    output[:, :columns] = input_ids
    row, ids = torch.arange(rows, device=input_ids.device), input_ids
    z, state = kwargs["z"], kwargs["past_key_values"]
    ended = torch.zeros(rows, dtype=torch.bool, device=input_ids.device)
    length = columns
    while len(row):
        new = ids if length == columns else ids[:, -1:]
        logits = model(input_ids=new, z=z, past_key_values=state).logits[:, -1].float()
        scores = processors(ids, logits)
        token = draw(scores, top_p) if generation_config.do_sample else scores.argmax(-1)
        token = torch.where(ended, pad, token)
        output[row, length] = token
        ids = torch.cat([ids, token[:, None]], 1)
        ended = ended | stopping_criteria(ids, None)
        length += 1
        if length == longest or (length - columns) % every == 0:
            count = int(ended.sum())
            if count == len(row) or count >= ENDED_SHARE * len(row):
                stay = (~ended).nonzero().squeeze(-1)
                row, ids, z, ended = row[stay], ids[stay], z[stay], ended[stay]
                state.reorder_cache(stay)
    return output[:, :length]


def _faster(processors: LogitsProcessorList, redraw: bool) -> tuple[LogitsProcessorList, float]:
    """Processors without full sorts, and the nucleus from which to draw where it is what the last of them keeps.

    Not where drawing again would take many turns, or where each turn has to be waited for (an accelerator).
    """
    faster = list(processors)
    for place, processor in enumerate(faster):
        if type(processor) is SuppressTokensLogitsProcessor:
            faster[place] = Suppressed(processor.suppress_tokens)
        elif type(processor) is TopPLogitsWarper:
            faster[place] = NucleusFilter(processor.top_p, processor.min_tokens_to_keep)
    last = faster[-1] if faster else None
    if redraw and isinstance(last, NucleusFilter) and last.min_tokens_to_keep == 1 and last.top_p >= LEAST_REDRAWN:
        return LogitsProcessorList(faster[:-1]), last.top_p
    return LogitsProcessorList(faster), 1.0
