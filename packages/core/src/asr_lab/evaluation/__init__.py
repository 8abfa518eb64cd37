"""Evaluation: error rates with intervals, speed, and the hypotheses behind them."""

from typing import TYPE_CHECKING

from asr_lab.plugins.lazy import lazy_attributes

if TYPE_CHECKING:
    from asr_lab.evaluation.evaluator import Evaluator, Recognised
    from asr_lab.evaluation.normalizers import Normalizer, normalizer
    from asr_lab.evaluation.options import EvaluateOptions, TranscribeOptions
    from asr_lab.evaluation.results import EvaluationResult, ScoredUtterance
    from asr_lab.evaluation.statistics import Interval, bootstrap_interval
    from asr_lab.evaluation.transcription.transcriber import Transcriber
    from asr_lab.evaluation.transcription.transcripts import Transcript
else:
    __getattr__ = lazy_attributes(
        __name__,
        EvaluateOptions="options",
        EvaluationResult="results",
        Evaluator="evaluator",
        Interval="statistics",
        Normalizer="normalizers",
        Recognised="evaluator",
        ScoredUtterance="results",
        TranscribeOptions="options",
        Transcriber="transcription.transcriber",
        Transcript="transcription.transcripts",
        bootstrap_interval="statistics",
        normalizer="normalizers",
    )

__all__ = [
    "EvaluateOptions",
    "EvaluationResult",
    "Evaluator",
    "Interval",
    "Normalizer",
    "Recognised",
    "ScoredUtterance",
    "TranscribeOptions",
    "Transcriber",
    "Transcript",
    "bootstrap_interval",
    "normalizer",
]
