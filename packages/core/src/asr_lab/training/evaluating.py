"""Evaluation inside a run: the dev set while it goes on, the test set at its end."""

from collections.abc import Iterable, Iterator, Sequence

from asr_lab.data.audio_batch import AudioBatch
from asr_lab.data.checks import first_problem
from asr_lab.data.loader import AudioDataset, Request, evaluation_dataset, load
from asr_lab.data.plan import MicroBatch, sorted_batches
from asr_lab.evaluation.evaluator import Evaluator
from asr_lab.evaluation.execution import Batching
from asr_lab.evaluation.measuring import Part, assembled, start_measuring
from asr_lab.evaluation.results import EvaluationResult
from asr_lab.evaluation.sharing import warm_up_of
from asr_lab.training.distributed import Group
from asr_lab.training.learner import Learner
from asr_lab.training.setup import EvaluationSet, Setup
from asr_lab.utils.errors import UserError

SHORT_HOURS = 0.25
"""Sets up to this long are read without loader processes, whose start takes longer."""


class RunEvaluator:
    """Evaluates the model of a run as its weights are now; all processes share the work."""

    def __init__(self, setup: Setup, learner: Learner, group: Group) -> None:
        """Prepare to evaluate; audio is kept from one evaluation to the next."""
        self.setup, self.learner, self.group = setup, learner, group
        self._datasets: dict[str, AudioDataset] = {}

    def datasets(self) -> list[AudioDataset]:
        """Return what the audio of the dev set, and of the test set if there is one, is read by."""
        sets = (self.setup.dev, self.setup.test)
        return [self._dataset(chosen) for chosen in sets if chosen]

    def evaluate(self, chosen: EvaluationSet, *, final: bool = False) -> EvaluationResult:
        """Recognise and score a set; the `final` time is warmed up for, so that speed is measured.

        Raises UserError for bad audio under the policy `fail`.
        """
        evaluator = Evaluator(
            model=self.learner.unwrapped,
            tokenizer=self.setup.tokenizer,
            recipe=self.setup.recipe,
            device=self.group.device,
            autocast=self.learner.precision.autocast,
            language=self.setup.language,
        )
        self.group.share_statistics(self.learner.unwrapped)
        # A process that raised alone would leave the others waiting.
        everywhere = self.group.gather(self._recognise(evaluator, chosen, final))
        parts = [one for one in everywhere if isinstance(one, Part)]
        bad = [one for part in parts for one in part.found.problems]
        if bad and self.setup.config.on_bad_utterance == "fail":
            raise UserError(first_problem(dict(bad)))
        return assembled(
            parts,
            chosen.utterances,
            dataset=chosen.label,
            normalizer=evaluator.normalizer,
            language=evaluator.language,
            left_out=chosen.unusable,
        )

    def _recognise(self, evaluator: Evaluator, chosen: EvaluationSet, final: bool) -> Part:
        """Recognise what falls to this process."""
        config, dataset = self.setup.config, self._dataset(chosen)
        data, durations = config.data_config, dataset.index.durations
        planned = sorted_batches(durations, data.batch_seconds, data.max_utterances)
        mine = planned[self.group.rank :: self.group.size]
        first = mine[: warm_up_of(evaluator.device) if final else 0]
        speakers = {u.id: u.speaker for u in chosen.utterances}
        start_measuring(evaluator.device)
        with self.learner.precision.step():
            found = evaluator.recognise(
                self._batches(chosen, mine), speakers, warm_up=self._batches(chosen, first)
            )
        batching = Batching(order="longest", batch_seconds=data.batch_seconds, warm_up=len(first))
        return Part.of(evaluator, found, batching, config.precision, training=True)

    def _batches(
        self, chosen: EvaluationSet, planned: Sequence[MicroBatch]
    ) -> Iterator[AudioBatch]:
        data, dataset = self.setup.config.data_config, self._dataset(chosen)
        here = chosen.hours <= SHORT_HOURS or dataset.stays_in_memory(self.group.device)
        requests = [Request(0, batch) for batch in planned]
        return load(dataset, requests, workers=0 if here else data.workers, prefetch=data.prefetch)

    def _dataset(self, chosen: EvaluationSet) -> AudioDataset:
        if chosen.label not in self._datasets:
            self._datasets[chosen.label] = evaluation_dataset(
                chosen.utterances,
                self.setup.recipe.sample_rate,
                self.setup.config.data_config.cache_hours,
                self.setup.shortest,
            )
        return self._datasets[chosen.label]


def merged(everywhere: Iterable[object]) -> dict[str, str]:
    """Return the problems that all processes found, as `Group.gather` hands them over."""
    found = (one for one in everywhere if isinstance(one, dict))
    return {str(name): str(problem) for one in found for name, problem in one.items()}
