"""Evaluation inside a run: the dev set while it goes on, the test set at its end."""

from collections.abc import Iterator

from asr_lab.data.audio_batch import AudioBatch
from asr_lab.data.loader import AudioDataset, Request, evaluation_dataset, load, refuse_bad
from asr_lab.data.plan import sorted_batches
from asr_lab.evaluation.evaluator import Evaluator, Recognised
from asr_lab.evaluation.results import EvaluationResult, summarise
from asr_lab.training.distributed import Group
from asr_lab.training.learner import Learner
from asr_lab.training.setup import EvaluationSet, Setup

SHORT_HOURS = 0.25
"""Sets up to this long are read without loader processes, whose start takes longer."""


class RunEvaluator:
    """Evaluates the model of a run as its weights are now; all processes share the work."""

    def __init__(self, setup: Setup, learner: Learner, group: Group) -> None:
        """Prepare to evaluate; audio is kept from one evaluation to the next."""
        self.setup, self.learner, self.group = setup, learner, group
        self._datasets: dict[str, AudioDataset] = {}

    def evaluate(self, chosen: EvaluationSet) -> EvaluationResult:
        """Recognise and score a set. Raises UserError for bad audio under the policy `fail`."""
        evaluator = Evaluator(
            model=self.learner.unwrapped,
            tokenizer=self.setup.tokenizer,
            recipe=self.setup.recipe,
            device=self.group.device,
            autocast=self.learner.precision.autocast,
        )
        speakers = {u.id: u.speaker for u in chosen.utterances}
        with self.learner.precision.step():
            mine = evaluator.recognise(self._batches(chosen), speakers)
        found = [one for one in self.group.gather(mine) if isinstance(one, Recognised)]
        return summarise(
            [utterance for one in found for utterance in one.utterances],
            dataset=chosen.label,
            normalizer=evaluator.normalizer.id,
            decoding=evaluator.decoding,
            skipped=chosen.unusable + sum(one.skipped for one in found),
            decode_seconds=max(one.decode_seconds for one in found),
            wall_seconds=max(one.wall_seconds for one in found),
        )

    def _batches(self, chosen: EvaluationSet) -> Iterator[AudioBatch]:
        config = self.setup.config
        data, dataset = config.data_config, self._dataset(chosen)
        planned = sorted_batches(dataset.index.durations, data.batch_seconds, data.max_utterances)
        mine = planned[self.group.rank :: self.group.size]
        workers = data.workers if chosen.hours > SHORT_HOURS else 0
        requests = [Request(0, batch) for batch in mine]
        loaded = load(dataset, requests, workers=workers, prefetch=data.prefetch)
        return refuse_bad(loaded) if config.on_bad_utterance == "fail" else loaded

    def _dataset(self, chosen: EvaluationSet) -> AudioDataset:
        if chosen.label not in self._datasets:
            self._datasets[chosen.label] = evaluation_dataset(
                chosen.utterances,
                self.setup.recipe.sample_rate,
                self.setup.config.data_config.cache_hours,
            )
        return self._datasets[chosen.label]
