"""What makes an utterance unusable for a model, as far as index and header show; torch-free."""

from collections.abc import Callable, Mapping, Sequence
from itertools import count, pairwise

from asr_lab.data.utterance import Utterance
from asr_lab.utils.errors import UserError


def check_utterance(
    duration: float,
    tokens: Sequence[int],
    *,
    min_duration: float,
    max_duration: float,
    steps: int | None = None,
    flags: str = "--data.",
) -> str:
    """Return why an utterance cannot be used; empty if it can.

    Durations are in seconds, and flags that start with `flags` set their limits. `steps` is the
    number of encoder steps that the utterance becomes at its highest speed; None for a model
    without CTC. An empty text is no problem: silence has one.
    """
    if duration <= 0:
        return "its audio has no length: the file is missing, empty or not audio"
    if duration < min_duration:
        return f"{duration:.3f} s is shorter than {flags}min-duration {min_duration:g}"
    if duration > max_duration:
        return f"{duration:.1f} s is longer than {flags}max-duration {max_duration:g}"
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


def usable(
    utterances: Sequence[Utterance], max_duration: float, policy: str, flags: str = "--data."
) -> tuple[list[Utterance], dict[str, str]]:
    """Return the utterances whose audio can be recognised, and why the others cannot, by id.

    Raises UserError for the first of those under the policy `fail`, and if none is left.
    """
    problems = {}
    for utterance in utterances:
        problem = audio_problem(utterance) or check_utterance(
            utterance.duration, (), min_duration=0.0, max_duration=max_duration, flags=flags
        )
        if problem:
            problems[utterance.id] = problem
    if problems and (policy == "fail" or len(problems) == len(utterances)):
        raise UserError(first_problem(problems))
    return [utterance for utterance in utterances if utterance.id not in problems], problems


def shortest_audio(frames: Callable[[int], int], steps: Callable[[int], int]) -> int:
    """Return the fewest samples from which a model has an encoder step.

    `frames` counts the feature frames of samples, and `steps` the encoder steps of frames.
    """
    return next(samples for samples in count(1) if steps(frames(samples)) >= 1)


def too_short(samples: int, shortest: int, sample_rate: int) -> str:
    """Return what is said of audio with less than `shortest` samples; empty if it has as many."""
    if samples >= shortest:
        return ""
    lasts, needed = (1000 * length / sample_rate for length in (samples, shortest))
    return f"lasts {lasts:.3g} ms, which is too short; the model needs {needed:g} ms or more"


def first_problem(problems: Mapping[str, str]) -> str:
    """Return what is said of the first of several bad utterances."""
    name, problem = next(iter(problems.items()))
    return bad_utterance(name, problem, len(problems) - 1)


def bad_utterance(name: str, problem: str, others: int = 0) -> str:
    """Return what is said of an utterance that cannot be used."""
    more = f" (and {others:,} more)" if others else ""
    return f"utterance {name!r}{more}: {problem}; mend it or say --on-bad-utterance skip"
