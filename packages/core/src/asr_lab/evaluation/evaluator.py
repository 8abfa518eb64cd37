"""Recognise a data set and score it."""

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import chain

import torch

from asr_lab.audio.levels import levels_of
from asr_lab.data.audio_batch import AudioBatch
from asr_lab.decoding.timestamps import seconds_per_step, word_times
from asr_lab.evaluation.failures.calibration import confidence
from asr_lab.evaluation.normalizers import BASIC, Normalizer
from asr_lab.evaluation.recogniser import Recogniser
from asr_lab.evaluation.results import EvaluationResult, ScoredUtterance, summarise
from asr_lab.models.base.outputs import Hypothesis
from asr_lab.utils.errors import UserError
from asr_lab.utils.metrics import Rule, character_errors, word_errors


@dataclass(frozen=True, kw_only=True)
class Recognised:
    """What was recognised in some batches, and how long that took."""

    utterances: tuple[ScoredUtterance, ...]
    problems: tuple[tuple[str, str], ...] = ()
    """Ids of utterances that could not be used, and why; they are not among `utterances`."""
    batches: tuple[int, ...] = ()
    """Utterances in each batch."""
    decode_seconds: float
    wall_seconds: float

    @property
    def skipped(self) -> int:
        """Number of utterances that could not be used."""
        return len(self.problems)

    @classmethod
    def joined(cls, parts: Sequence["Recognised"], order: Iterable[str]) -> "Recognised":
        """Put together what processes recognised at the same time; `order` are all ids."""
        places = {name: place for place, name in enumerate(order)}
        utterances = chain.from_iterable(part.utterances for part in parts)
        problems = chain.from_iterable(part.problems for part in parts)
        return cls(
            utterances=tuple(sorted(utterances, key=lambda one: places[one.id])),
            problems=tuple(sorted(problems, key=lambda one: places[one[0]])),
            batches=tuple(chain.from_iterable(part.batches for part in parts)),
            decode_seconds=max(part.decode_seconds for part in parts),
            wall_seconds=max(part.wall_seconds for part in parts),
        )


@dataclass(frozen=True)
class Text:
    """What was recognised, and as text."""

    hypothesis: Hypothesis
    text: str


@dataclass(frozen=True, kw_only=True)
class Evaluator(Recogniser):
    """Everything that turns audio into scored text."""

    normalizer: Normalizer = BASIC
    language: str = ""
    """Language of the references, as a code; empty if unknown."""
    rule: Rule = "levenshtein"
    """Which alignment of two texts is counted."""
    keep_going: bool = False
    """Leave out an utterance that cannot be recognised, instead of ending there."""
    timed: bool = False
    """Find out when words were said, where the decoder knows."""

    def evaluate(
        self,
        batches: Iterable[AudioBatch],
        dataset: str = "",
        speakers: Mapping[str, str] | None = None,
        left_out: int = 0,
    ) -> EvaluationResult:
        """Recognise and score all batches; `speakers` names the speaker of utterance ids.

        `left_out` utterances were not even loaded; they count as skipped.
        The result does not depend on how utterances were batched, but for rounding and the times.
        Raises UserError if no utterance could be used.
        """
        found = self.recognise(batches, speakers)
        return summarise(
            found.utterances,
            dataset=dataset,
            normalizer=self.normalizer,
            decoding=self.decoding,
            rule=self.rule,
            skipped=left_out + found.skipped,
            decode_seconds=found.decode_seconds,
            wall_seconds=found.wall_seconds,
            language=self.language,
        )

    def recognise(
        self,
        batches: Iterable[AudioBatch],
        speakers: Mapping[str, str] | None = None,
        warm_up: Iterable[AudioBatch] = (),
    ) -> Recognised:
        """Recognise all batches and score each utterance; those with a problem are named only.

        Batches of `warm_up` are recognised first, and nothing is told of them.
        """
        utterances: list[ScoredUtterance] = []
        problems: list[tuple[str, str]] = []
        sizes: list[int] = []
        decode_seconds = 0.0
        with self.working():
            for batch in warm_up:
                self._texts(batch)
            started = self._now()
            for batch in batches:
                problems += problems_of([batch]).items()
                sizes.append(len(batch))
                if not bool(batch.valid.any()):
                    continue
                before = self._now()
                texts = self._texts(batch)
                decode_seconds += self._now() - before
                problems += _given_up(batch, texts)
                utterances += self._score(batch, texts, speakers or {})
            wall_seconds = self._now() - started
        return Recognised(
            utterances=tuple(utterances),
            problems=tuple(problems),
            batches=tuple(sizes),
            decode_seconds=decode_seconds,
            wall_seconds=wall_seconds,
        )

    def _now(self) -> float:
        """Return the time at which all work on the device that was asked for is done."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def _texts(self, batch: AudioBatch) -> list[Text | str]:
        """Recognise a batch; return the text of each utterance, or why there is none.

        Where that fails, the halves are tried on their own, so that one utterance costs no other
        its text, and a batch that does not fit into memory is made to fit. Only an utterance that
        fails alone is given up.
        """
        try:
            hypotheses = self.hypotheses(batch)
            return [Text(one, self.tokenizer.decode(one.tokens)) for one in hypotheses]
        except (UserError, NotImplementedError):
            raise  # about the settings, so that no utterance would do better
        except Exception as error:
            if len(batch) == 1 and bool(batch.valid) and not self.keep_going:
                error.add_note(f"while recognising utterance {batch.utterance_ids[0]!r}")
                raise
            reason = " ".join(f"{type(error).__name__}: {error}".split())
        # Here the failed attempt is forgotten, and with it the memory that its frames held.
        if len(batch) == 1:
            return [f"could not be recognised ({reason})"]
        middle = len(batch) // 2
        return [*self._texts(part(batch, 0, middle)), *self._texts(part(batch, middle, None))]

    def _score(
        self, batch: AudioBatch, texts: Sequence[Text | str], speakers: Mapping[str, str]
    ) -> Iterator[ScoredUtterance]:
        """Yield the valid utterances of a batch with their errors."""
        valid, lengths = batch.valid.tolist(), batch.lengths.tolist()
        for index, found in enumerate(texts):
            if not valid[index] or isinstance(found, str):
                continue
            reference = batch.texts[index]
            levels = levels_of(
                batch.samples[index, : lengths[index]].numpy(), self.recipe.sample_rate
            )
            ours, theirs = self.normalizer.apply(reference), self.normalizer.apply(found.text)
            errors = word_errors(ours, theirs, self.rule)
            yield ScoredUtterance(
                id=batch.utterance_ids[index],
                reference=reference,
                hypothesis=found.text,
                reference_normalised=ours,
                hypothesis_normalised=theirs,
                word_errors=errors,
                character_errors=character_errors(ours, theirs, self.rule),
                duration=lengths[index] / self.recipe.sample_rate,
                score=found.hypothesis.score,
                speaker=speakers.get(batch.utterance_ids[index], ""),
                times=self._times(found) if self.timed else (),
                confidence=confidence_of(found.hypothesis, errors.hypothesis_length),
                loudest=round(levels.loudest, 1),
                contrast=round(levels.contrast, 1),
            )

    def _times(self, found: Text) -> tuple[tuple[float, float], ...]:
        """Return start and end of each word of a text; nothing if they are not known for all."""
        try:
            step = seconds_per_step(self.model.config)
            words = word_times(found.hypothesis, self.tokenizer, step)
        except ValueError:  # the decoder does not tell
            return ()
        same = [word.text for word in words] == found.text.split()
        return tuple((word.start, word.end) for word in words) if same else ()


def _given_up(batch: AudioBatch, texts: Sequence[Text | str]) -> Iterator[tuple[str, str]]:
    """Yield utterances that could not be recognised though their audio could be used, and why."""
    for name, problem, text in zip(batch.utterance_ids, batch.problems, texts, strict=True):
        if isinstance(text, str) and not problem:
            yield name, text


def problems_of(batches: Iterable[AudioBatch]) -> dict[str, str]:
    """Return why utterances of some batches cannot be used, by id."""
    return {
        name: problem
        for batch in batches
        for name, problem in zip(batch.utterance_ids, batch.problems, strict=True)
        if problem
    }


def part(batch: AudioBatch, start: int, end: int | None) -> AudioBatch:
    """Return utterances `start` to `end` of a batch, without padding that they do not need."""
    chosen = {
        item.name: value[start:end]
        for item in fields(batch)
        if len(value := getattr(batch, item.name)) == len(batch)
    }
    longest = int(chosen["lengths"].max())
    return AudioBatch(**{**chosen, "samples": chosen["samples"][:, :longest]})


def confidence_of(hypothesis: Hypothesis, words: int) -> float:
    """Return the confidence of a hypothesis of `words` words, by the likelihood if it has one."""
    known = not math.isnan(hypothesis.likelihood)
    return confidence(hypothesis.likelihood if known else hypothesis.score, words)
