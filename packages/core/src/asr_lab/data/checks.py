"""What makes an utterance unusable for a model, as far as index and header show; torch-free."""

from collections.abc import Sequence
from itertools import pairwise

from asr_lab.data.utterance import Utterance
from asr_lab.utils.errors import UserError


def check_utterance(
    duration: float,
    tokens: Sequence[int],
    *,
    min_duration: float,
    max_duration: float,
    steps: int | None = None,
) -> str:
    """Return why an utterance cannot be used; empty if it can.

    Durations are in seconds. `steps` is the number of encoder steps that the utterance becomes at
    its highest speed; None for a model without CTC. An empty text is no problem: silence has one.
    """
    if duration <= 0:
        return "its audio has no length: the file is missing, empty or not audio"
    if duration < min_duration:
        return f"{duration:.3f} s is shorter than --data.min-duration {min_duration:g}"
    if duration > max_duration:
        return f"{duration:.1f} s is longer than --data.max-duration {max_duration:g}"
    needed = least_steps(tokens)
    if steps is not None and steps < needed:
        return f"{len(tokens)} tokens need {needed} encoder steps for CTC, and it has {steps}"
    return ""


def least_steps(tokens: Sequence[int]) -> int:
    """Return the length of the shortest CTC path: a blank stands between equal neighbours.

    Graves et al. 2006, section 3.
    """
    return len(tokens) + sum(left == right for left, right in pairwise(tokens))


def audio_problem(utterance: Utterance) -> str:
    """Return what is wrong with audio whose header gave no length; empty where it has one."""
    if utterance.duration > 0:
        return ""
    from asr_lab.audio.files import audio_duration

    audio = utterance.audio
    try:
        length = audio_duration(audio.path, audio.offset, audio.size)
    except UserError as error:
        return str(error)
    return f"{audio.path} lasts {length:.3f} s; the utterance starts at {audio.start:g} s"
