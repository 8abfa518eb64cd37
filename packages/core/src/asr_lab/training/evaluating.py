"""Evaluation inside a run: the dev set while it goes on, the test set at its end."""

from asr_lab.data.index import Index
from asr_lab.data.loader import AudioDataset, Request, load
from asr_lab.data.plan import sorted_batches
from asr_lab.evaluation.evaluator import Evaluator
from asr_lab.evaluation.results import EvaluationResult
from asr_lab.training.distributed import Group
from asr_lab.training.learner import Learner
from asr_lab.training.setup import EvaluationSet, Setup


def evaluate_set(
    learner: Learner, setup: Setup, chosen: EvaluationSet, group: Group
) -> EvaluationResult:
    """Evaluate the model as its weights are now."""
