"""Prefix beam search over CTC scores, a whole batch at a time, with or without a language model."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor

from asr_lab.decoding.beams import Trail, extend_key
from asr_lab.decoding.language_model import Fusion
from asr_lab.models.base.outputs import Hypothesis

MORE = 4
"""Times the beam that the language model looks at: what it may bring back into the beam."""


class Prefixes(NamedTuple):
    """The beginnings of transcripts that are alive, best first; free places have probability 0."""

    blank: Float[Tensor, "batch beam"]
    """Log probability of all paths that end in a blank."""
    label: Float[Tensor, "batch beam"]
    """Log probability of all paths that end in the last token."""
    extra: Float[Tensor, "batch beam"]
    """Weighted language model score and token bonus."""
    key: Int64[Tensor, "batch beam"]
    before: Int64[Tensor, "batch beam"]
    """Key of the prefix without its last token."""
    last: Int64[Tensor, "batch beam"]
    """Last token; -1 for the empty prefix."""

    @property
    def total(self) -> Float[Tensor, "batch beam"]:
        """Log probability of all paths."""
        return torch.logaddexp(self.blank, self.label)


@torch.inference_mode()
def ctc_beam_search(
    log_probs: Float[Tensor, "batch steps scores"],
    lengths: Int[Tensor, " batch"],
    blank_id: int,
    beam: int,
    fusion: Fusion | None = None,
) -> list[Hypothesis]:
    """Return the transcript of each utterance whose paths together are the most probable.

    The score is their log probability, and what `fusion` adds. Times are the encoder steps at which
    a token came into the beam. Source: Hannun and others (2014), arXiv 1408.2873, algorithm 1.
    """
    fusion = fusion or Fusion()
    batch, steps, _ = log_probs.shape
    lengths = lengths.to(log_probs.device).long()
    prefixes, trail = _start(log_probs, beam), Trail()
    for step in range(steps if batch else 0):
        scores = log_probs[:, step]
        after, parents, tokens = _extend(prefixes, scores, blank_id, fusion)
        active = (step < lengths)[:, None]
        prefixes = Prefixes(
            *(torch.where(active, new, old) for new, old in zip(after, prefixes, strict=True))
        )
        places = torch.arange(beam, device=lengths.device).expand_as(parents)
        times = torch.full_like(parents, step)
        trail.add(
            torch.where(active, parents, places), torch.where(active, tokens, -1), times, times
        )
    ended = prefixes.total + prefixes.extra + fusion.ends(prefixes.key, prefixes.total)
    best, place = ended.max(1)
    found = trail.back([len(trail)] * batch, place.tolist())
    likelihoods = prefixes.total.gather(1, place[:, None])[:, 0].tolist()
    return [
        Hypothesis(
            tokens=tuple(token for token, _, _ in said),
            score=score,
            times=tuple(float(start) for _, start, _ in said),
            likelihood=likelihood,
        )
        for said, score, likelihood in zip(found, best.tolist(), likelihoods, strict=True)
    ]


def _start(log_probs: Float[Tensor, "batch steps scores"], beam: int) -> Prefixes:
    """Return the empty prefix for each utterance."""
    nothing = log_probs.new_full((len(log_probs), beam), -torch.inf)
    certain = nothing.clone()
    certain[:, 0] = 0.0
    keys = torch.zeros(nothing.shape, dtype=torch.int64, device=log_probs.device)
    return Prefixes(certain, nothing, torch.zeros_like(nothing), keys, keys, keys - 1)


def _extend(
    prefixes: Prefixes, scores: Float[Tensor, "batch scores"], blank_id: int, fusion: Fusion
) -> tuple[Prefixes, Int64[Tensor, "batch beam"], Int64[Tensor, "batch beam"]]:
    """Take one step; return also the place each prefix came from, and its new token or -1."""
    beam, total = prefixes.blank.shape[1], prefixes.total
    last = prefixes.last.clamp(min=0)
    again = scores.gather(1, last).masked_fill(prefixes.last < 0, -torch.inf)
    longer = total[:, :, None] + scores[:, None, :blank_id]
    longer.scatter_(2, last[:, :, None], _repeated(prefixes, longer, again)[:, :, None])
    joined, longer = _join(prefixes, longer)
    stay_blank = total + scores[:, blank_id, None]
    stay_label = torch.logaddexp(prefixes.label + again, joined)

    ranked = longer + (prefixes.extra + fusion.token_bonus)[:, :, None]
    count = min(beam * (MORE if fusion.model else 1), ranked[0].numel())
    places = ranked.flatten(1).topk(count).indices
    parents, tokens = places // blank_id, places % blank_id
    label = longer.flatten(1).gather(1, places)
    keys = extend_key(prefixes.key.gather(1, parents), tokens)
    extra = prefixes.extra.gather(1, parents) + fusion.token_bonus
    extra = extra + fusion.scores(prefixes.key.gather(1, parents), tokens, keys, label)

    own = torch.arange(beam, device=tokens.device).expand(len(scores), beam)
    all_prefixes = Prefixes(
        blank=torch.cat([stay_blank, torch.full_like(label, -torch.inf)], 1),
        label=torch.cat([stay_label, label], 1),
        extra=torch.cat([prefixes.extra, extra], 1),
        key=torch.cat([prefixes.key, keys], 1),
        before=torch.cat([prefixes.before, prefixes.key.gather(1, parents)], 1),
        last=torch.cat([prefixes.last, tokens], 1),
    )
    chosen = (all_prefixes.total + all_prefixes.extra).topk(beam).indices
    kept = Prefixes(*(values.gather(1, chosen) for values in all_prefixes))
    came = torch.cat([own, parents], 1).gather(1, chosen)
    said = torch.cat([torch.full_like(own, -1), tokens], 1).gather(1, chosen)
    return kept, came, said


def _repeated(
    prefixes: Prefixes,
    longer: Float[Tensor, "batch beam tokens"],
    again: Float[Tensor, "batch beam"],
) -> Float[Tensor, "batch beam"]:
    """Return the log probability of saying the last token once more: only after a blank."""
    empty = prefixes.last < 0
    return torch.where(empty, longer[:, :, 0], prefixes.blank + again)


def _join(
    prefixes: Prefixes, longer: Float[Tensor, "batch beam tokens"]
) -> tuple[Float[Tensor, "batch beam"], Float[Tensor, "batch beam tokens"]]:
    """Move the probability of extensions that are in the beam already to where they are."""
    batch, beam, vocab = longer.shape
    alive = prefixes.total > -torch.inf
    match = (prefixes.before[:, :, None] == prefixes.key[:, None, :]) & alive[:, None, :]
    match = match & (alive & (prefixes.last >= 0))[:, :, None]
    found, parent = match.any(2), match.long().argmax(2)
    places = parent * vocab + prefixes.last.clamp(min=0)
    flat = torch.nn.functional.pad(longer.flatten(1), (0, 1), value=-torch.inf)
    places = torch.where(found, places, beam * vocab)  # the last entry takes what has no match
    joined = flat.gather(1, places)
    flat = flat.scatter(1, places, -torch.inf)
    return joined, flat[:, :-1].view(batch, beam, vocab)
