"""What an evaluation found and how it was computed, put together from its processes."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from asr_lab.data.utterance import Utterance
from asr_lab.evaluation.evaluator import Evaluator, Recognised
from asr_lab.evaluation.execution import Batching, Execution, peak_memory_of_process, together
from asr_lab.evaluation.normalizers import Normalizer
from asr_lab.evaluation.results import EvaluationResult, summarise
from asr_lab.models.base.options import DecodingOptions
from asr_lab.precision.devices import device_name
from asr_lab.reproducibility.environment import machine
from asr_lab.utils.metrics import Rule


@dataclass(frozen=True)
class Part:
    """What a process recognised, and how."""

    found: Recognised
    execution: Execution
    decoding: DecodingOptions
    """With the name of the decoder, also where nobody said it."""

    @classmethod
    def of(
        cls,
        evaluator: Evaluator,
        found: Recognised,
        batching: Batching,
        precision: str,
        *,
        training: bool = False,
    ) -> "Part":
        """Return what `evaluator` found, in what batches, in a precision of that name.

        Memory is the peak since the process started, or `start_measuring`. `training` says that
        the process holds what a training run needs.
        """
        gpu, parameters = evaluator.device.type == "cuda", list(evaluator.model.parameters())
        with evaluator.autocast():
            low = torch.is_autocast_enabled(evaluator.device.type)
            arithmetic = torch.get_autocast_dtype(evaluator.device.type)
        weights = max((one.dtype for one in parameters), key=lambda kind: kind.itemsize)
        peak = torch.cuda.max_memory_allocated(evaluator.device) if gpu else 0
        execution = Execution(
            device=device_name(evaluator.device) if gpu else machine()["cpu"],
            devices=1,
            threads=torch.get_num_threads(),
            precision=precision,
            language_model=_sha256(evaluator.decoding.lm),
            weights=_name(weights),
            arithmetic=_name(arithmetic if low else weights),
            **asdict(batching),
            batches=len(found.batches),
            largest_batch=max(found.batches, default=0),
            parameters=sum(one.numel() for one in parameters),
            peak_memory=peak if gpu else peak_memory_of_process(),
            while_training=training,
        )
        name, _ = evaluator.model.decoder(evaluator.decoding)
        plain = {**asdict(evaluator.decoding), "decoder": name}
        return cls(found, execution, DecodingOptions(**plain))


def start_measuring(device: torch.device) -> None:
    """Forget the memory that was needed until now, where it can be forgotten: on a GPU."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def assembled(
    parts: Sequence[Part],
    utterances: Sequence[Utterance],
    *,
    dataset: str,
    normalizer: Normalizer,
    rule: Rule = "levenshtein",
    language: str = "",
    left_out: int = 0,
) -> EvaluationResult:
    """Return the result of what all processes recognised, in the order of `utterances`.

    `left_out` more were not even tried. Raises UserError if there is nothing to score.
    """
    found = Recognised.joined([one.found for one in parts], (one.id for one in utterances))
    result = summarise(
        found.utterances,
        dataset=dataset,
        normalizer=normalizer,
        decoding=parts[0].decoding,
        rule=rule,
        skipped=left_out + found.skipped,
        decode_seconds=found.decode_seconds,
        wall_seconds=found.wall_seconds,
        language=language,
    )
    execution = together([one.execution for one in parts])
    return replace(result, problems=dict(found.problems), execution=execution)


def _sha256(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest() if path else ""


def _name(kind: torch.dtype) -> str:
    return str(kind).removeprefix("torch.")
