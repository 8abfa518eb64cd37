"""Recognise a data set and score it."""

import math
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from asr_lab.audio.levels import levels_of
from asr_lab.data.audio_batch import AudioBatch
from asr_lab.evaluation.failures.calibration import confidence
from asr_lab.evaluation.normalizers import BASIC, Normalizer
from asr_lab.evaluation.recogniser import Recogniser
from asr_lab.evaluation.results import EvaluationResult, ScoredUtterance, summarise
from asr_lab.models.base.outputs import Hypothesis
from asr_lab.utils.metrics import Rule, character_errors, word_errors


@dataclass(frozen=True, kw_only=True)
class Recognised:
    """What was recognised in some batches, and how long that took."""

    utterances: tuple[ScoredUtterance, ...]
    skipped: int
    decode_seconds: float
    wall_seconds: float


@dataclass(frozen=True, kw_only=True)
class Evaluator(Recogniser):
    """Everything that turns audio into scored text."""

    normalizer: Normalizer = BASIC
    rule: Rule = "levenshtein"
    """Which alignment of two texts is counted."""

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
            normalizer=self.normalizer.id,
            decoding=self.decoding,
            rule=self.rule,
            skipped=left_out + found.skipped,
            decode_seconds=found.decode_seconds,
            wall_seconds=found.wall_seconds,
        )

    def recognise(
        self, batches: Iterable[AudioBatch], speakers: Mapping[str, str] | None = None
    ) -> Recognised:
        """Recognise all batches and score each utterance; those with a problem are counted only."""
        utterances: list[ScoredUtterance] = []
        skipped, decode_seconds, started = 0, 0.0, time.perf_counter()
        with self.working():
            for batch in batches:
                skipped += sum(map(bool, batch.problems))
                if not bool(batch.valid.any()):
                    continue
                before = time.perf_counter()
                hypotheses = self.hypotheses(batch)
                decode_seconds += time.perf_counter() - before
                utterances += self._score(batch, hypotheses, speakers or {})
        return Recognised(
            utterances=tuple(utterances),
            skipped=skipped,
            decode_seconds=decode_seconds,
            wall_seconds=time.perf_counter() - started,
        )

    def _score(
        self, batch: AudioBatch, hypotheses: list[Hypothesis], speakers: Mapping[str, str]
    ) -> Iterator[ScoredUtterance]:
        """Yield the valid utterances of a batch with their errors."""
        valid, lengths = batch.valid.tolist(), batch.lengths.tolist()
        for index, hypothesis in enumerate(hypotheses):
            if not valid[index]:
                continue
            reference, text = batch.texts[index], self.tokenizer.decode(hypothesis.tokens)
            levels = levels_of(
                batch.samples[index, : lengths[index]].numpy(), self.recipe.sample_rate
            )
            ours, theirs = self.normalizer.apply(reference), self.normalizer.apply(text)
            errors = word_errors(ours, theirs, self.rule)
            yield ScoredUtterance(
                id=batch.utterance_ids[index],
                reference=reference,
                hypothesis=text,
                reference_normalised=ours,
                hypothesis_normalised=theirs,
                word_errors=errors,
                character_errors=character_errors(ours, theirs, self.rule),
                duration=lengths[index] / self.recipe.sample_rate,
                score=hypothesis.score,
                speaker=speakers.get(batch.utterance_ids[index], ""),
                confidence=confidence_of(hypothesis, errors.hypothesis_length),
                loudest=round(levels.loudest, 1),
                contrast=round(levels.contrast, 1),
            )


def confidence_of(hypothesis: Hypothesis, words: int) -> float:
    """Return the confidence of a hypothesis of `words` words, by the likelihood if it has one."""
    known = not math.isnan(hypothesis.likelihood)
    return confidence(hypothesis.likelihood if known else hypothesis.score, words)
