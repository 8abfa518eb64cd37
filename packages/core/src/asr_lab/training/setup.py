"""From the settings of a run to everything it needs, before anything is written or computed."""

import hashlib
import json
import math
from array import array
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asr_lab.audio.lengths import sped_up_length
from asr_lab.audio.recipes import FeatureRecipe, recipe
from asr_lab.data.checks import (
    audio_problem,
    check_utterance,
    first_problem,
    shortest_audio,
    usable,
)
from asr_lab.data.index import Index
from asr_lab.data.loader import AudioDataset
from asr_lab.data.names import ResolvedDataset, read_dataset, resolve
from asr_lab.data.plan import PlanSettings, Source, plan_epoch
from asr_lab.data.selection import Selection, count_tokens
from asr_lab.data.stored import Columns
from asr_lab.data.utterance import Utterance
from asr_lab.models.base.config import ModelConfig
from asr_lab.plugins import ModelSpec, Plugins
from asr_lab.reproducibility.keys import derive_key
from asr_lab.tokenizers import Tokenizer
from asr_lab.training.config import RunConfig
from asr_lab.training.starting import Start, read_start, with_vocabulary
from asr_lab.utils.errors import UserError

HELD_OUT_MOST = 500
"""Most utterances that are held out for evaluation while training."""


@dataclass(frozen=True, kw_only=True)
class EvaluationSet:
    """Utterances that are evaluated, and what to call them."""

    label: str
    utterances: Sequence[Utterance]
    typed: str = ""
    """What to type to evaluate on it again; empty for utterances held out of the training data."""
    unusable: int = 0
    """Utterances that were left out because of their audio."""

    @property
    def hours(self) -> float:
        """Length of the audio."""
        return sum(utterance.duration for utterance in self.utterances) / 3600

    @property
    def digest(self) -> str:
        """SHA-256, in hexadecimal, of what is said and where."""
        return Index.build(self.utterances, lambda text: ()).digest


@dataclass(frozen=True, kw_only=True)
class Setup:
    """Everything a run needs, with nothing left to choose."""

    config: RunConfig
    """The settings, with the model's vocabulary set from the tokenizer."""
    spec: ModelSpec
    tokenizer: Tokenizer
    recipe: FeatureRecipe
    label: str
    """The training data as people call them."""
    utterances: Selection
    """What is trained on."""
    index: Index
    """The same, as the plan needs it."""
    sources: tuple[Source, ...]
    plan: PlanSettings
    steps: int
    """Optimizer steps of the whole run."""
    steps_per_epoch: int
    """Optimizer steps of the first epoch."""
    dev: EvaluationSet
    test: EvaluationSet | None
    language: str
    """Language of most training utterances; empty if unknown."""
    unusable: dict[str, str]
    """Training utterances that are left out, and why."""
    notes: tuple[str, ...] = ()
    """What was chosen where nothing was said."""
    start: Start | None = None
    """Weights to start from; None for random ones."""

    def describe(self) -> str:
        """Return what is trained and evaluated on, in one line."""
        hours = float(self.utterances.durations.sum()) / 3600
        voices = self.utterances.names("speakers").keys() - {""}
        spoken = f", {len(voices):,} {'voice' if len(voices) == 1 else 'voices'}" if voices else ""
        parts = [
            self.label,
            f"train {length(hours)} ({len(self.utterances):,} utterances{spoken})",
            f"dev {length(self.dev.hours)}",
        ]
        if self.test:
            unseen = voices and voices.isdisjoint({u.speaker for u in self.test.utterances})
            parts.append(f"test {length(self.test.hours)}{' (unseen voices)' if unseen else ''}")
        return " · ".join(parts)

    @property
    def shortest(self) -> int:
        """Fewest samples of audio from which the model has an encoder step."""
        return shortest_audio(self.recipe.frames, self.config.model_config.steps)

    def dataset(self) -> AudioDataset:
        """Return what the loader reads the training data from."""
        data = self.config.data_config
        return AudioDataset(
            self.index,
            self.tokenizer.encode,
            sample_rate=self.recipe.sample_rate,
            seed=self.config.seed,
            cache_hours=data.cache_hours,
            shortest=math.ceil(
                max(self.shortest * max(data.speeds), data.min_duration * self.recipe.sample_rate)
            ),
        )


def length(hours: float) -> str:
    """Return a length of time in the unit that suits it."""
    if hours >= 1:
        return f"{hours:,.1f} h"
    return f"{hours * 60:.0f} min" if hours * 60 >= 2 else f"{hours * 3600:.0f} s"


def prepare(config: RunConfig, plugins: Plugins, source: Path | None = None) -> Setup:
    """Read the data sets, train the tokenizer, check every utterance, and count the steps.

    `source` is a copy of the weights to start from, if the run has one. Raises UserError for what
    cannot be trained on; under `--on-bad-utterance skip` an utterance that cannot be used is left
    out instead.
    """
    _, spec = plugins.registry.find(ModelSpec, config.model)
    start = read_start(config, spec, plugins, source)
    spoken = start.portable.language if start else ""
    resolved = [resolve(name, plugins.registry, "train", spoken) for name in config.data]
    loaded = [Selection.whole(read_dataset(one)) for one in resolved]
    dev, loaded, notes = _dev_set(config, plugins, resolved, loaded)
    test = _test_set(config, plugins, resolved, notes)
    config, tokenizer = with_vocabulary(config, start, Selection.joined(loaded))
    if start is not None:
        start = start.for_tokenizer(tokenizer, spec)
        notes = [*start.notes(config.model_config), *notes]
    model = config.model_config
    features = recipe(model.features, model.mels, model.sample_rate)
    checked = _usable(config, resolved, loaded, tokenizer, features)
    utterances, token_counts, sources, unusable = checked
    index = utterances.indexed(token_counts)
    plan = _plan_settings(config, tokenizer)
    first = _steps_per_epoch(config, utterances, index, sources, plan)
    steps = config.train.steps or math.ceil(config.train.epochs * first)
    languages = utterances.names("languages")
    return Setup(
        config=config,
        spec=spec,
        tokenizer=tokenizer,
        recipe=features,
        label=_label(config),
        utterances=utterances,
        index=index,
        sources=sources,
        plan=plan,
        steps=steps,
        steps_per_epoch=first,
        dev=dev,
        test=test,
        language=max(languages, key=languages.__getitem__) or spoken,
        unusable=unusable,
        notes=tuple(notes),
        start=start,
    )


def _steps_per_epoch(
    config: RunConfig,
    utterances: Selection,
    index: Index,
    sources: Sequence[Source],
    plan: PlanSettings,
) -> int:
    """Return the number of optimizer steps of the first epoch."""

    def make() -> Columns:
        first = plan_epoch(index.durations, sources, config.seed, 0, plan)
        return {"steps": memoryview(array("q", [first.steps]))}

    kept = ["steps", config.seed, [asdict(source) for source in sources], plan.digest()]
    return int(utterances.stored(kept, make)["steps"][0])


def _label(config: RunConfig) -> str:
    """Return the training data as they were typed, and how to get others if nothing was typed."""
    default = RunConfig.__dataclass_fields__["data"].default
    chosen = "data" in config.changes or config.data != default
    return " + ".join(config.data) + ("" if chosen else " (embedded; --data names others)")


def _plan_settings(config: RunConfig, tokenizer: Tokenizer) -> PlanSettings:
    data = config.data_config
    return PlanSettings(
        batch_seconds=data.batch_seconds,
        max_utterances=data.max_utterances,
        micro_batches=config.train.accumulate,
        speeds=data.speeds,
        tokenizer=tokenizer.digest,
        steps=config.model_config.digest(),
    )


def _dev_set(
    config: RunConfig,
    plugins: Plugins,
    resolved: Sequence[ResolvedDataset],
    loaded: list[Selection],
) -> tuple[EvaluationSet, list[Selection], list[str]]:
    """Return the dev set, the training utterances without it, and a note if it was held out."""
    first = resolved[0]
    if config.dev_data:
        dev = resolve(config.dev_data, plugins.registry, "dev", first.config)
        return _evaluation_set(config, dev), loaded, []
    if "dev" in first.spec.splits and first.split != "dev":
        return _evaluation_set(config, replace(first, split="dev")), loaded, []
    kept, held = _hold_out(config, loaded[0])
    note = f"{len(held)} training utterances held out as dev set; --dev-data names another"
    label = f"{first.typed} (held out)"
    return EvaluationSet(label=label, utterances=list(held)), [kept, *loaded[1:]], [note]


def _hold_out(config: RunConfig, utterances: Selection) -> tuple[Selection, Selection]:
    """Split off some of the good ones by a hash of their text: no sentence is on both sides."""
    most, fraction = config.data_config.max_duration, config.data_config.dev_fraction
    seconds = utterances.durations
    good = (seconds > 0) & (seconds <= most)
    policy = config.on_bad_utterance
    if not good.all() and (policy == "fail" or not good.any()):  # says which
        usable(utterances.only(~good), most, policy)

    def make() -> Columns:
        texts = utterances.only(good).texts()
        keys = np.fromiter((derive_key(0, "dev", text) for text in texts), np.int64)
        _, of_text, counts = np.unique(keys, return_inverse=True, return_counts=True)
        if len(counts) < 2:
            raise UserError("one distinct sentence cannot be split; name a dev set with --dev-data")
        wanted = min(max(1, round(fraction * len(keys))), HELD_OUT_MOST)
        chosen = min(int(np.searchsorted(counts.cumsum(), wanted)) + 1, len(counts) - 1)
        held = np.zeros(len(good), np.uint8)
        held[np.flatnonzero(good)[of_text < chosen]] = 1
        return {"held": held.data}

    good_digest = hashlib.sha256(good.data).hexdigest()
    found = utterances.stored(["held", fraction, HELD_OUT_MOST, good_digest], make)
    held = np.frombuffer(found["held"], bool)
    return utterances.only(~held), utterances.only(held)


def _test_set(
    config: RunConfig, plugins: Plugins, resolved: Sequence[ResolvedDataset], notes: list[str]
) -> EvaluationSet | None:
    first = resolved[0]
    if config.eval_data:
        test = resolve(config.eval_data, plugins.registry, "test", first.config)
    elif "test" in first.spec.splits and first.split != "test":
        test = replace(first, split="test")
    else:
        notes.append("no test set: the error rate is that of the dev set; --eval-data names one")
        return None
    return _evaluation_set(config, test)


def _evaluation_set(config: RunConfig, resolved: ResolvedDataset) -> EvaluationSet:
    most, policy = config.data_config.max_duration, config.on_bad_utterance
    utterances, unusable = usable(read_dataset(resolved), most, policy)
    typed = resolved.typed
    return EvaluationSet(label=typed, utterances=utterances, typed=typed, unusable=len(unusable))


def _usable(
    config: RunConfig,
    resolved: Sequence[ResolvedDataset],
    loaded: Sequence[Selection],
    tokenizer: Tokenizer,
    features: FeatureRecipe,
) -> tuple[Selection, NDArray[np.int64], tuple[Source, ...], dict[str, str]]:
    """Return the utterances that can be trained on, their numbers of tokens, where each source
    stands, and why others cannot be used."""
    check = _checker(config, config.model_config, tokenizer, features)
    kept: list[Selection] = []
    tokens: list[NDArray[np.int64]] = []
    sources: list[Source] = []
    unusable: dict[str, str] = {}
    start = 0
    for one, utterances in zip(resolved, loaded, strict=True):
        counted = _counted(utterances, tokenizer)
        good = np.ones(len(utterances), bool)
        suspects = _suspects(config, utterances, counted, features)
        for position in np.flatnonzero(suspects).tolist():
            if problem := check(utterances[position]):
                unusable[utterances[position].id] = problem
                good[position] = False
        kept.append(utterances.only(good))
        tokens.append(np.frombuffer(counted["tokens"], np.int64)[good])
        if end := len(kept[-1]):
            sources.append(Source(start=start, end=start + end, weight=one.weight))
            start += end
    if unusable and config.on_bad_utterance == "fail":
        raise UserError(first_problem(unusable))
    if not start:
        raise UserError(f"no training utterance can be used: {first_problem(unusable)}")
    if max(one.weight * (one.end - one.start) for one in sources) < 1:
        raise UserError("the weights leave no utterance in an epoch; raise one in --data")
    return Selection.joined(kept), np.concatenate(tokens), tuple(sources), unusable


def _counted(utterances: Selection, tokenizer: Tokenizer) -> Columns:
    """Return how many tokens each utterance has; see `count_tokens`."""
    texts, encode = utterances.texts(), tokenizer.encode
    return utterances.stored(
        ["tokens", tokenizer.digest], lambda: count_tokens(texts, encode, len(utterances))
    )


def _suspects(
    config: RunConfig, utterances: Selection, counted: Columns, features: FeatureRecipe
) -> NDArray[np.bool_]:
    """Return which utterances have to be checked one by one: all that cannot be used, at least."""
    model, data = config.model_config, config.data_config
    seconds = utterances.durations
    found = ~((seconds > 0) & (seconds >= data.min_duration) & (seconds <= data.max_duration))
    found[[position for position, _ in json.loads(bytes(counted["refused"]))]] = True
    if model.uses_ctc:
        fits = np.flatnonzero(~found)
        samples = (seconds[fits] * features.sample_rate).astype(np.int64)
        there = np.zeros(samples.max(initial=0) + 1, bool)
        there[samples] = True
        fastest = max(data.speeds)
        fast = (sped_up_length(length, fastest) for length in np.flatnonzero(there).tolist())
        steps = np.zeros(len(there), np.int32)
        steps[there] = [model.steps(features.frames(length)) for length in fast]
        found[fits] = steps[samples] < np.frombuffer(counted["least"], np.int64)[fits]
    return found


def _checker(
    config: RunConfig, model: ModelConfig, tokenizer: Tokenizer, features: FeatureRecipe
) -> Callable[[Utterance], str]:
    data, fastest = config.data_config, max(config.data_config.speeds)

    def check(utterance: Utterance) -> str:
        """Return why an utterance cannot be trained on; empty if it can."""
        try:
            tokens = tokenizer.encode(utterance.text)
        except UserError as error:
            return str(error)
        if problem := audio_problem(utterance):
            return problem
        samples = sped_up_length(int(utterance.duration * features.sample_rate), fastest)
        return check_utterance(
            utterance.duration,
            tokens,
            min_duration=data.min_duration,
            max_duration=data.max_duration,
            steps=model.steps(features.frames(samples)) if model.uses_ctc else None,
        )

    return check
