"""How probable a transducer finds the tokens that a search gave, apart from when they are said."""

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from asr_lab.models.base.interfaces import TransducerDecoder
from asr_lab.models.base.outputs import EncoderOutput, Hypothesis

SCORES = 1 << 22
"""Scores that are computed at once; a long batch has more."""


@torch.inference_mode()
def label_likelihoods(
    decoder: TransducerDecoder, encoder_output: EncoderOutput, hypotheses: Sequence[Hypothesis]
) -> list[Hypothesis]:
    """Return hypotheses with the log probability of their tokens, each where it was said.

    The blank takes part in a path's probability at every encoder step, though it decides only when
    something is said. So the probability of a token is taken among the tokens alone, without blank
    and durations: P(token | a token is said here, the tokens before). Any search finds the same.
    An empty hypothesis has none; its path is the only one, and the score its probability.
    """
    counts = [len(one.tokens) for one in hypotheses]
    if not sum(counts):
        return list(hypotheses)
    device = encoder_output.sequences.values.device
    rows = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts)).to(device)
    times = torch.tensor([int(time) for one in hypotheses for time in one.times], device=device)
    said = decoder.project(encoder_output.sequences.values)[rows, times]
    tokens = torch.tensor([token for one in hypotheses for token in one.tokens], device=device)
    places = torch.cat([torch.arange(count) for count in counts]).to(device)
    before = _predicted(decoder, tokens, counts)[rows, places]
    found: list[float] = []
    for some in torch.arange(len(tokens), device=device).split(SCORES // decoder.blank_id + 1):
        logits = decoder.joint(said[some, None], before[some, None])[:, 0, 0]
        log_probs = logits[:, : decoder.blank_id].log_softmax(-1)
        found += log_probs.gather(1, tokens[some, None])[:, 0].tolist()
    ends = torch.tensor(counts).cumsum(0).tolist()
    return [
        replace(one, likelihood=math.fsum(found[end - count : end])) if count else one
        for one, count, end in zip(hypotheses, counts, ends, strict=True)
    ]


def _predicted(
    decoder: TransducerDecoder, tokens: Int64[Tensor, " tokens"], counts: Sequence[int]
) -> Float[Tensor, "batch places hidden"]:
    """Return what the prediction network says before each token of each utterance."""
    padded = torch.nn.utils.rnn.pad_sequence(
        list(tokens.split(list(counts))), batch_first=True, padding_value=decoder.blank_id
    )
    fed = torch.nn.functional.pad(padded[:, :-1], (1, 0), value=decoder.blank_id)
    predicted, _ = decoder.predict(fed, None)
    return predicted
