"""Evaluation inside a run: the dev set while it goes on, the test set at its end."""

from collections.abc import Iterable, Iterator

from asr_lab.data.audio_batch import AudioBatch
from asr_lab.data.checks import first_problem
from asr_lab.data.loader import AudioDataset, Request, evaluation_dataset, load
from asr_lab.data.plan import sorted_batches
from asr_lab.evaluation.evaluator import Evaluator, Recognised
from asr_lab.evaluation.results import EvaluationResult, summarise
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

    def evaluate(self, chosen: EvaluationSet) -> EvaluationResult:
        """Recognise and score a set. Raises UserError for bad audio under the policy `fail`."""
        evaluator = Evaluator(
            model=self.learner.unwrapped,
            tokenizer=self.setup.tokenizer,
            recipe=self.setup.recipe,
            device=self.group.device,
            autocast=self.learner.precision.autocast,
        )
        self.group.share_statistics(self.learner.unwrapped)
        speakers = {u.id: u.speaker for u in chosen.utterances}
        with self.learner.precision.step():
            mine = evaluator.recognise(self._batches(chosen), speakers)
        # A process that raised alone would leave the others waiting.
        parts = [one for one in self.group.gather(mine) if isinstance(one, Recognised)]
        found = Recognised.joined(parts, (utterance.id for utterance in chosen.utterances))
        if found.problems and self.setup.config.on_bad_utterance == "fail":
            raise UserError(first_problem(dict(found.problems)))
        return summarise(
            found.utterances,
            dataset=chosen.label,
            normalizer=evaluator.normalizer.id,
            decoding=evaluator.decoding,
            skipped=chosen.unusable + found.skipped,
            decode_seconds=found.decode_seconds,
            wall_seconds=found.wall_seconds,
        )

    def _batches(self, chosen: EvaluationSet) -> Iterator[AudioBatch]:
        data, dataset = self.setup.config.data_config, self._dataset(chosen)
        planned = sorted_batches(dataset.index.durations, data.batch_seconds, data.max_utterances)
        mine = planned[self.group.rank :: self.group.size]
        here = chosen.hours <= SHORT_HOURS or dataset.stays_in_memory(self.group.device)
        requests = [Request(0, batch) for batch in mine]
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
