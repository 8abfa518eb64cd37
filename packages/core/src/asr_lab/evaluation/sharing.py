"""The utterances of an evaluation: in which batches they are recognised, on which devices."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from asr_lab.data.audio_batch import AudioBatch
from asr_lab.data.loader import AudioDataset, Request, evaluation_dataset, load, refuse_bad
from asr_lab.data.plan import Integers, MicroBatch, ordered_batches, sorted_batches
from asr_lab.data.utterance import Utterance
from asr_lab.evaluation.evaluator import Evaluator
from asr_lab.evaluation.execution import Batching
from asr_lab.evaluation.measuring import Part
from asr_lab.evaluation.normalizers import normalizers
from asr_lab.evaluation.options import EvaluateOptions
from asr_lab.evaluation.processes import Team, in_processes, share
from asr_lab.evaluation.recogniser import Loaded, load_checkpoint
from asr_lab.precision.devices import choose_device
from asr_lab.reproducibility.keys import shuffled
from asr_lab.utils.errors import UserError

MOST_UTTERANCES = 256
"""Most utterances in a batch whose size is not asked for."""
NO_LIMIT = 1e12
"""Seconds of audio in a batch whose size is asked for."""
WARM_UP = 2
"""Batches before the clock starts, on a GPU."""


@dataclass(frozen=True)
class Share:
    """Every `size`-th batch, from number `rank` on."""

    rank: int
    size: int
    device: str


def planned(options: EvaluateOptions, durations: Integers) -> list[MicroBatch]:
    """Return all batches of a set, the same in every process."""
    most = options.batch_size or MOST_UTTERANCES
    seconds = NO_LIMIT if options.batch_size else options.batch_seconds
    if options.order == "longest":
        return sorted_batches(durations, seconds, most)
    count = len(durations)
    order = np.arange(count) if options.order == "dataset" else shuffled(count, 0, "evaluation")
    return ordered_batches(order, durations, seconds, most)


def devices(options: EvaluateOptions, team: Team) -> list[str]:
    """Return the device of each process that this one starts.

    Raises UserError where there are not as many, or somebody else starts processes already.
    """
    count = options.devices
    if count == 1:
        return [options.device]
    if team.size > 1:
        raise UserError(
            f"--devices {count} cannot be used under torchrun, which started {team.size} processes;"
            " leave it out"
        )
    chosen = choose_device(options.device)
    if chosen.type == "cpu":
        return ["cpu"] * count
    if chosen.index is not None:
        raise UserError(f"--devices {count} starts at cuda:0; got --device {chosen}; say cuda")
    if count > (found := torch.cuda.device_count()):
        raise UserError(f"--devices {count}: this machine has {found} GPUs; say {found}")
    return [f"cuda:{index}" for index in range(count)]


def recognise_all(
    options: EvaluateOptions,
    loaded: Loaded,
    utterances: Sequence[Utterance],
    team: Team,
    language: str,
) -> list[Part]:
    """Recognise a set with all processes, of the team or that are started here.

    `language` is that of the references, for the normaliser.

    Raises UserError, if a process fails, for the first that does.
    """
    places = devices(options, team)
    if len(places) > 1:
        return in_processes(partial(_in_child, options, utterances, places, language), len(places))
    place = options.device
    if team.size > 1 and choose_device(place).type == "cuda":
        place = f"cuda:{torch.cuda.current_device()}"
    mine = Share(team.rank, team.size, place)
    return share(team, lambda: recognise(options, loaded, utterances, mine, language))


def _in_child(
    options: EvaluateOptions,
    utterances: Sequence[Utterance],
    places: Sequence[str],
    language: str,
    rank: int,
) -> Part:
    """Do the share of a process that was started for it alone."""
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, torch.get_num_threads() // len(places)))
    loaded = load_checkpoint(Path(options.checkpoint), quiet=True)
    mine = Share(rank, len(places), places[rank])
    return recognise(options, loaded, utterances, mine, language)


def recognise(
    options: EvaluateOptions,
    loaded: Loaded,
    utterances: Sequence[Utterance],
    mine: Share,
    language: str,
) -> Part:
    """Recognise and score a share of a set as the options say."""
    evaluator = Evaluator.of(loaded, options.decoding, options.precision, mine.device)
    evaluator = replace(
        evaluator,
        normalizer=normalizers(options.normalizer, language)[0],
        language=language,
        rule=options.rule,
        keep_going=options.on_bad_utterance == "skip",
        timed="ctm" in options.write,
    )
    rate = evaluator.recipe.sample_rate
    dataset = evaluation_dataset(utterances, rate, shortest=evaluator.shortest)
    requests = [Request(0, batch) for batch in planned(options, dataset.index.durations)]
    requests = requests[mine.rank :: mine.size]
    warm_up = requests[: warm_up_of(evaluator.device, options.warm_up)]
    found = evaluator.recognise(
        batches(options, dataset, requests),
        {utterance.id: utterance.speaker for utterance in utterances},
        warm_up=load(dataset, warm_up, workers=0, prefetch=1),
    )
    batching = Batching(
        order=options.order,
        batch_size=options.batch_size,
        batch_seconds=options.batch_seconds,
        warm_up=len(warm_up),
    )
    return Part.of(evaluator, found, batching, options.precision)


def warm_up_of(device: torch.device, wanted: int | None = None) -> int:
    """Return the number of batches before the clock starts, if no other is wanted."""
    if wanted is not None:
        return wanted
    return WARM_UP if device.type == "cuda" else 0


def batches(
    options: EvaluateOptions, dataset: AudioDataset, requests: Sequence[Request]
) -> Iterator[AudioBatch]:
    """Load batches; nothing is read before the first is asked for."""
    loaded = load(dataset, requests, workers=options.workers, prefetch=2)
    yield from refuse_bad(loaded) if options.on_bad_utterance == "fail" else loaded
