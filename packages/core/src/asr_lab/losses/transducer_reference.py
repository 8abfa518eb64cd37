"""Slow and obvious transducer losses in double precision: what the fast ones are tested against."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def rnnt_reference(
    logits: Float[Tensor, "batch steps positions scores"],
    lengths: Int[Tensor, " batch"],
    tokens: Int[Tensor, "batch tokens"],
    token_lengths: Int[Tensor, " batch"],
    *,
    blank_id: int,
    fast_emit: float = 0.0,
) -> Float[Tensor, " batch"]:
    """Return the negative log likelihood of each text in nats (Graves 2012, arXiv 1211.3711).

    From cell (step, position) a token leads to (step, position + 1) and a blank to (step + 1,
    position); the last emission is a blank at the last step. An utterance without steps has 0.

    FastEmit (Yu et al. 2021, arXiv 2010.11148) in the convention of NeMo's and torchaudio's
    gradients: what flows through tokens is 1 + `fast_emit` times as large, the loss stays as it is
    (NeMo reports 1 + `fast_emit` times the loss).
    """
    log_probs = logits.double().log_softmax(-1)
    losses = []
    for row in range(len(logits)):
        steps, count = int(lengths[row]), int(token_lengths[row])
        if steps == 0:
            losses.append(0 * logits[row].sum().double())
            continue
        alpha: dict[tuple[int, int], Tensor] = {(0, 0): log_probs.new_zeros(())}
        for step in range(steps):
            for position in range(count + 1):
                ways = []
                if step > 0:
                    blank = log_probs[row, step - 1, position, blank_id]
                    ways.append(alpha[step - 1, position] + blank)
                if position > 0:
                    token = log_probs[row, step, position - 1, tokens[row, position - 1]]
                    ways.append(alpha[step, position - 1] + _hastened(token, fast_emit))
                if ways:
                    alpha[step, position] = torch.stack(ways).logsumexp(0)
        losses.append(-alpha[steps - 1, count] - log_probs[row, steps - 1, count, blank_id])
    return torch.stack(losses)


def tdt_reference(
    logits: Float[Tensor, "batch steps positions scores"],
    lengths: Int[Tensor, " batch"],
    tokens: Int[Tensor, "batch tokens"],
    token_lengths: Int[Tensor, " batch"],
    *,
    blank_id: int,
    durations: tuple[int, ...],
    sigma: float = 0.0,
    fast_emit: float = 0.0,
) -> Float[Tensor, " batch"]:
    """Return the same of a token-and-duration transducer (Xu et al. 2023, arXiv 2304.06795).

    Every emission has a token and, independently, a duration, by which the step advances. A blank
    never has duration 0. Tokens are emitted and land before the end; the last emission is a blank
    that lands on the end exactly. `sigma` is taken off the log probability of every token and
    blank (section 3.4). A text that cannot be emitted has 0. FastEmit is as in `rnnt_reference`.
    """
    token_log_probs = logits[..., : blank_id + 1].double().log_softmax(-1) - sigma
    duration_log_probs = logits[..., blank_id + 1 :].double().log_softmax(-1)
    losses = []
    for row in range(len(logits)):
        steps, count = int(lengths[row]), int(token_lengths[row])
        alpha: dict[tuple[int, int], Tensor] = {(0, 0): token_log_probs.new_zeros(())}
        for step in range(steps + 1):
            for position in range(count + 1):
                ways = []
                for index, duration in enumerate(durations):
                    start = step - duration
                    if duration > 0 and (start, position) in alpha:
                        blank = token_log_probs[row, start, position, blank_id]
                        chosen = duration_log_probs[row, start, position, index]
                        ways.append(alpha[start, position] + blank + chosen)
                    if step < steps and (start, position - 1) in alpha:
                        token = token_log_probs[row, start, position - 1, tokens[row, position - 1]]
                        chosen = duration_log_probs[row, start, position - 1, index]
                        emitted = _hastened(token + chosen, fast_emit)
                        ways.append(alpha[start, position - 1] + emitted)
                if ways:
                    alpha[step, position] = torch.stack(ways).logsumexp(0)
        possible = steps > 0 and (steps, count) in alpha
        losses.append(-alpha[steps, count] if possible else 0 * logits[row].sum().double())
    return torch.stack(losses)


def _hastened(log_prob: Float[Tensor, ""], fast_emit: float) -> Float[Tensor, ""]:
    """Return the value as it is, with 1 + `fast_emit` times its gradient."""
    return log_prob + fast_emit * (log_prob - log_prob.detach())
