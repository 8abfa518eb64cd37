"""Slow and obvious CTC in double precision: what the fast ones are tested against."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def ctc_reference(
    scores: Float[Tensor, "batch steps scores"],
    lengths: Int[Tensor, " batch"],
    tokens: Int[Tensor, "batch tokens"],
    token_lengths: Int[Tensor, " batch"],
    *,
    blank_id: int,
) -> Float[Tensor, " batch"]:
    """Return the negative log likelihood of each text in nats (Graves et al. 2006, section 4.1).

    States are the tokens with blanks before, between and behind. A path stays in a state or goes to
    the next; from a token also past the blank, if the next token is another. It starts in one of
    the first two states and ends in one of the last two. Infinite, without a gradient, where there
    is no path.
    """
    log_probs = scores.double().log_softmax(-1)
    losses = []
    for row in range(len(scores)):
        said = [int(token) for token in tokens[row, : token_lengths[row]]]
        states = [blank_id]
        for token in said:
            states += [token, blank_id]
        # Before the first step: one step leads to the first blank or token.
        alpha: dict[int, Tensor] = {-1: log_probs.new_zeros(())}
        for step in range(int(lengths[row])):
            before, alpha = alpha, {}
            for state, label in enumerate(states):
                came = [state, state - 1]
                if label != blank_id and state > 1 and states[state - 2] != label:
                    came.append(state - 2)
                if step == 0:
                    came = [-1] if state < 2 else []
                ways = [before[one] for one in came if one in before]
                if ways and not log_probs[row, step, label].isneginf():
                    alpha[state] = torch.stack(ways).logsumexp(0) + log_probs[row, step, label]
        last = [len(states) - 1, len(states) - 2] if lengths[row] else [-1] if not said else []
        ways = [alpha[state] for state in last if state in alpha]
        nothing = log_probs.new_full((), torch.inf)
        losses.append(-torch.stack(ways).logsumexp(0) if ways else nothing)
    return torch.stack(losses)
