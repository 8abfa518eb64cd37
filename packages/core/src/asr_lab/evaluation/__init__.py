"""Evaluation: error rates with intervals, speed, and the hypotheses behind them."""

from typing import TYPE_CHECKING

from asr_lab.plugins.lazy import lazy_attributes

if TYPE_CHECKING:
    from asr_lab.evaluation.evaluator import Evaluator, Recognised
    from asr_lab.evaluation.matched_pairs import MatchedPairs, mapsswe
    from asr_lab.evaluation.normalizers import Normalizer, normalizer
    from asr_lab.evaluation.options import EvaluateOptions, TranscribeOptions
    from asr_lab.evaluation.results import EvaluationResult, ScoredUtterance
    from asr_lab.evaluation.significance import PairedDifference, holm, paired_difference
    from asr_lab.evaluation.statistics import Interval, bootstrap_interval, rate_interval
    from asr_lab.evaluation.transcription.transcriber import Transcriber
    from asr_lab.evaluation.transcription.transcripts import Transcript
else:
    __getattr__ = lazy_attributes(
        __name__,
        EvaluateOptions="options",
        EvaluationResult="results",
        Evaluator="evaluator",
        Interval="statistics",
        MatchedPairs="matched_pairs",
        Normalizer="normalizers",
        PairedDifference="significance",
        Recognised="evaluator",
        ScoredUtterance="results",
        TranscribeOptions="options",
        Transcriber="transcription.transcriber",
        Transcript="transcription.transcripts",
        bootstrap_interval="statistics",
        holm="significance",
        mapsswe="matched_pairs",
        normalizer="normalizers",
        paired_difference="significance",
        rate_interval="statistics",
    )

__all__ = [
    "EvaluateOptions",
    "EvaluationResult",
    "Evaluator",
    "Interval",
    "MatchedPairs",
    "Normalizer",
    "PairedDifference",
    "Recognised",
    "ScoredUtterance",
    "TranscribeOptions",
    "Transcriber",
    "Transcript",
    "bootstrap_interval",
    "holm",
    "mapsswe",
    "normalizer",
    "paired_difference",
    "rate_interval",
]
