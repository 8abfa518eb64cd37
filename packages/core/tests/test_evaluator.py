"""Evaluation of a real small model: exact counts, skipped utterances, files and the summary."""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from asr_lab.audio.recipes import FeatureRecipe, recipe
from asr_lab.data.audio_batch import AudioBatch
from asr_lab.data.features import to_batch
from asr_lab.decoding import decode
from asr_lab.evaluation import EvaluationResult, Evaluator, ScoredUtterance
from asr_lab.evaluation.normalizers import BASIC, NONE
from asr_lab.evaluation.results import summarise
from asr_lab.layers.ctc_model import CTCModel
from asr_lab.models.base import (
    Batch,
    DecodingOptions,
    Encoder,
    EncoderOutput,
    Hypothesis,
    ModelConfig,
    Sequences,
    State,
)
from asr_lab.tokenizers import CharacterTokenizer
from asr_lab.utils.errors import UserError
from asr_lab.utils.files import CannotWriteError
from asr_lab.utils.metrics import ErrorCounts, character_errors, word_errors

RATE, MELS = 16000, 8
LETTERS = " abcdef"


class EveryFourth(Encoder):
    """Keeps every fourth frame; drops half of the numbers in train mode."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.5)

    def forward(self, features: Sequences, state: State = None) -> EncoderOutput:
        lengths = (features.lengths + 3) // 4
        return EncoderOutput(Sequences(self.dropout(features.values[:, ::4]), lengths))


class Small(CTCModel[ModelConfig]):
    """An untrained model: what it says is rubbish, and always the same rubbish."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config, EveryFourth(), config.mels)
        with torch.no_grad():
            self.head.linear.weight.mul_(9)
            self.head.linear.bias[0] += 3  # more spaces, more words

    def transcribe(self, batch: Batch, decoding: DecodingOptions) -> list[Hypothesis]:
        assert torch.is_inference_mode_enabled()
        _, decoder = self.decoder(decoding)
        return decode(decoder, self.encoder(batch.features), decoding, self.config.vocab)


def audio(lengths: list[int], seed: int = 0) -> AudioBatch:
    """Return noise that changes its colour, of these lengths in samples."""
    generator = torch.Generator().manual_seed(seed)
    samples = torch.zeros(len(lengths), max(lengths))
    for row, length in zip(samples, lengths, strict=True):
        row[:length] = torch.randn(length, generator=generator)
    samples = torch.where(samples.roll(RATE // 20) > 0, samples.cumsum(1) / 30, samples)
    count = len(lengths)
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return AudioBatch(
        utterance_ids=tuple(f"u{seed}-{index}" for index in range(count)),
        samples=(samples.clamp(-3, 3) * 8000 * mask).to(torch.int16),
        lengths=torch.tensor(lengths),
        tokens=torch.zeros(count, 1, dtype=torch.int64),
        token_lengths=torch.ones(count, dtype=torch.int64),
        keys=torch.arange(count),
        speeds=torch.ones(count),
        valid=torch.ones(count, dtype=torch.bool),
        problems=("",) * count,
        language=("en",) * count,
        texts=("",) * count,
    )


@pytest.fixture
def evaluator() -> Evaluator:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = Small(ModelConfig(vocab=len(LETTERS), mels=MELS))
    return Evaluator(
        model=model, tokenizer=CharacterTokenizer(LETTERS), recipe=recipe("nemo", MELS, RATE)
    )


def hypotheses_one_by_one(evaluator: Evaluator, batch: AudioBatch) -> list[str]:
    """Recognise each utterance alone, without any padding."""
    texts = []
    evaluator.model.eval()
    for index, length in enumerate(batch.lengths.tolist()):
        one = replace(audio([length]), samples=batch.samples[index : index + 1, :length])
        with torch.inference_mode():
            features = to_batch(one, evaluator.recipe, evaluator.device)
            (found,) = evaluator.model.transcribe(features, DecodingOptions())
        texts.append(evaluator.tokenizer.decode(found.tokens))
    return texts


def test_every_utterance_is_recognised_as_it_would_be_alone(evaluator: Evaluator) -> None:
    batches = [audio([9000, 16000, 4000], 1), audio([12345, 7777], 2)]
    result = evaluator.evaluate(batches)
    alone = [text for batch in batches for text in hypotheses_one_by_one(evaluator, batch)]
    assert [one.hypothesis for one in result.utterances] == alone
    assert len(set(alone)) == 5, "the model must say something different each time"
    assert [one.id for one in result.utterances] == ["u1-0", "u1-1", "u1-2", "u2-0", "u2-1"]


def test_errors_are_counted_after_normalising_both_sides(evaluator: Evaluator) -> None:
    batch = audio([9000, 16000, 8000], 1)
    right = [BASIC.apply(text) for text in hypotheses_one_by_one(evaluator, batch)]
    words = sum(len(text.split()) for text in right)
    same = replace(batch, texts=tuple(f" {text.upper()}!" for text in right))
    assert evaluator.evaluate([same]).word_errors == ErrorCounts(0, 0, 0, words)
    spoilt = (f"{right[0]} extra words", right[1], right[2].partition(" ")[2])
    result = evaluator.evaluate([replace(batch, texts=spoilt)])
    assert result.word_errors == ErrorCounts(0, 2, 1, words + 1)
    assert result.character_errors.deletions == len(" extra words")
    strict = replace(evaluator, normalizer=NONE).evaluate([same])
    assert strict.word_errors.substitutions == words
    assert (result.normalizer, strict.normalizer) == (BASIC.id, NONE.id)


def test_utterances_with_a_problem_are_counted_and_left_out_of_the_score(
    evaluator: Evaluator,
) -> None:
    batch = audio([9000, 16000, 8000], 1)
    good = evaluator.evaluate([batch])
    bad = replace(
        batch,
        valid=torch.tensor([True, False, False]),
        problems=("", "truncated file", ""),
        texts=("", "a reference that would count", "a repeated utterance that would count"),
    )
    result = evaluator.evaluate([bad, replace(bad, valid=torch.zeros(3, dtype=torch.bool))])
    assert result.utterances == good.utterances[:1]
    assert result.skipped == 2
    assert result.audio_seconds == 9000 / RATE
    assert "(1 utterance, 2 skipped, " in result.summary()


def test_nothing_to_score_is_an_error(evaluator: Evaluator) -> None:
    batch = replace(audio([900]), valid=torch.tensor([False]), problems=("unreadable",))
    with pytest.raises(UserError, match=r"nothing to score in fleurs/en_us: .* \(1 skipped\)"):
        evaluator.evaluate([batch], dataset="fleurs/en_us")
    with pytest.raises(UserError, match=r"nothing to score in the data: .* \(0 skipped\)"):
        evaluator.evaluate([])


def test_every_module_is_back_in_its_own_mode_afterwards(evaluator: Evaluator) -> None:
    model = evaluator.model.train()
    model.encoder.eval()
    before = [module.training for module in model.modules()]
    first, second = (evaluator.evaluate([audio([9000], 1)]) for _ in range(2))
    assert first.utterances == second.utterances, "dropout must be off"
    assert [module.training for module in model.modules()] == before
    with pytest.raises(RuntimeError, match="broken"):
        evaluator.evaluate(broken())
    assert [module.training for module in model.modules()] == before


def broken() -> Iterator[AudioBatch]:
    """Yield a batch, then fail as a loader may."""
    yield audio([900])
    raise RuntimeError("broken")


def test_times_are_those_of_decoding_and_of_everything(evaluator: Evaluator) -> None:
    result = evaluator.evaluate([audio([9000, 16000], 1)])
    assert result.audio_seconds == 25000 / RATE
    assert 0 < result.decode_seconds < result.wall_seconds
    assert result.rtfx == result.audio_seconds / result.decode_seconds
    assert result.rtfx > result.rtfx_with_loading == result.audio_seconds / result.wall_seconds


def test_the_autocast_of_a_precision_spans_model_and_search(evaluator: Evaluator) -> None:
    entered: list[bool] = []

    @contextmanager
    def autocast() -> Iterator[None]:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            entered.append(torch.is_autocast_enabled("cpu"))
            yield

    batches = [audio([9000], 1), audio([8000], 2)]
    low = replace(evaluator, autocast=autocast).evaluate(batches)
    assert entered == [True, True]
    full = evaluator.evaluate(batches)
    assert [one.score for one in low.utterances] != [one.score for one in full.utterances]


def test_speakers_are_kept_by_utterance(evaluator: Evaluator) -> None:
    result = evaluator.evaluate([audio([900, 900], 1)], speakers={"u1-1": "anna"})
    assert [one.speaker for one in result.utterances] == ["", "anna"]
    assert result.word_interval.method.startswith("bootstrap by utterance")


def scored(index: int, errors: ErrorCounts, **changes: str | float) -> ScoredUtterance:
    """Return an utterance of a second with these errors."""
    utterance = ScoredUtterance(
        id=f"u{index:03d}",
        reference="Größe “A”",
        hypothesis="größe b",
        reference_normalised="größe a",
        hypothesis_normalised="größe b",
        word_errors=errors,
        character_errors=errors,
        duration=1.0,
        score=-1.5,
    )
    return replace(utterance, **changes)  # type: ignore[arg-type]


def result_of(utterances: list[ScoredUtterance], skipped: int = 0) -> EvaluationResult:
    return summarise(
        utterances,
        dataset="spoken/en/test",
        normalizer=BASIC,
        decoding=DecodingOptions(beam=4),
        skipped=skipped,
        decode_seconds=0.5,
        wall_seconds=1.0,
    )


def test_the_summary_is_the_line_that_people_read() -> None:
    counts = [ErrorCounts(1 if index % 10 == 0 else 0, 0, 0, 3) for index in range(200)]
    result = result_of([scored(index, one) for index, one in enumerate(counts)])
    low, high = 100 * result.word_interval.low, 100 * result.word_interval.high
    assert low < 3.33 < high
    assert result.summary() == (
        f"WER 3.3 % [{low:.1f}, {high:.1f}]   CER 3.3 %"
        "   (200 utterances, normaliser basic@a391)   400x real time"
    )
    slow = replace(result, decode_seconds=200 / 3.25)
    assert slow.summary().endswith("   3.2x real time")
    fast = replace(result, decode_seconds=200 / 12345)
    assert fast.summary().endswith("   12,345x real time")


def test_a_second_line_says_how_the_interval_was_found_and_what_it_leaves_out() -> None:
    utterances = [scored(index, ErrorCounts(index % 2, 0, 0, 4)) for index in range(200)]
    unknown = result_of(utterances)
    assert unknown.doubt() == (
        "interval  bootstrap by utterance, 2000 resamples (speakers are unknown: if they are few,"
        f" the interval is too narrow); tells systems {100 * unknown.tells_apart:.2g} points apart"
    )
    assert 0.03 < unknown.tells_apart < 0.07
    known = [replace(one, speaker=f"s{index % 12}") for index, one in enumerate(utterances)]
    assert result_of(known).doubt().startswith("interval  t interval over 12 speakers; tells ")
    many = [replace(one, speaker=f"s{index % 50}") for index, one in enumerate(utterances)]
    assert "interval  bootstrap by speaker, 2000 resamples, widened" in result_of(many).doubt()
    clean = result_of([scored(0, ErrorCounts(0, 0, 0, 4))])
    assert "without any error" in clean.doubt() and "tells" not in clean.doubt()
    assert clean.to_dict()["tells_apart"] is None


def test_the_rule_decides_what_is_counted_and_is_stored(evaluator: Evaluator) -> None:
    batch = audio([9000, 16000], 1)
    for rule in ("levenshtein", "sclite"):
        result = replace(evaluator, rule=rule).evaluate([batch])
        assert result.to_dict()["rule"] == rule
        for one in result.utterances:
            texts = (one.reference_normalised, one.hypothesis_normalised, result.rule)
            assert one.word_errors == word_errors(*texts)
            assert one.character_errors == character_errors(*texts)


def test_the_worst_utterances_have_most_errors_then_the_highest_rate() -> None:
    numbers = [(0, 9), (1, 9), (4, 9), (4, 5), (4, 5), (0, 0)]
    utterances = [scored(i, ErrorCounts(e, 0, 0, n)) for i, (e, n) in enumerate(numbers)]
    worst = result_of(utterances[::-1]).worst
    assert [one.id for one in worst] == ["u003", "u004", "u002", "u001"]
    many = [scored(index, ErrorCounts(1, 0, 0, 2)) for index in range(30)]
    assert len(result_of(many).worst) == 10


def test_a_result_is_plain_json_with_everything_needed_to_cite_it() -> None:
    utterances = [scored(0, ErrorCounts(1, 2, 3, 10)), scored(1, ErrorCounts(0, 0, 0, 10))]
    plain = json.loads(json.dumps(result_of(utterances, skipped=7).to_dict(), allow_nan=False))
    words = plain["words"]
    assert words["error_rate"] == 0.3
    assert [words[kind] for kind in ("substitutions", "deletions", "insertions")] == [1, 2, 3]
    assert (words["errors"], words["reference_length"]) == (6, 20)
    assert words["interval"] == [0.0, 0.6]
    assert words["method"] == "bootstrap by utterance, 2000 resamples"
    assert words["warning"].startswith("speakers are unknown")
    assert words["match_error_rate"] == 6 / 23
    assert words["information_lost"] == 1 - 17**2 / (20 * 21)
    assert plain["rule"] == "levenshtein" and plain["tells_apart"] > 0
    assert (plain["utterances"], plain["skipped"]) == (2, 7)
    assert (plain["rtfx"], plain["rtfx_with_loading"]) == (4.0, 2.0)
    assert (plain["dataset"], plain["normalizer"]) == ("spoken/en/test", BASIC.id)
    assert plain["decoding"]["beam"] == 4
    assert [one["id"] for one in plain["worst"]] == ["u000"]


def test_infinite_rates_and_scores_become_null_in_json(tmp_path: Path) -> None:
    utterance = scored(0, ErrorCounts(0, 0, 2, 0), score=-math.inf)
    result = result_of([utterance])
    plain = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert plain["words"]["error_rate"] is None
    assert plain["words"]["interval"] == [None, None]
    assert result.summary().startswith("WER inf % [inf, inf]")
    result.write_hypotheses(tmp_path / "hypotheses.jsonl")
    assert json.loads((tmp_path / "hypotheses.jsonl").read_bytes())["score"] is None


def test_hypotheses_are_one_legible_object_a_line_from_which_all_is_known(tmp_path: Path) -> None:
    path = tmp_path / "test.hypotheses.jsonl"
    path.write_text("old")
    odd = scored(1, ErrorCounts(0, 0, 0, 2), reference="line\nbreak \ud800 \u2028", speaker="anna")
    result_of([scored(0, ErrorCounts(1, 0, 0, 2)), odd]).write_hypotheses(path)
    lines = path.read_text(encoding="utf-8").split("\n")
    assert len(lines) == 3 and lines[-1] == ""
    assert "Größe “A”" in lines[0]
    first, second = (json.loads(line) for line in lines[:2])
    assert first == {
        "id": "u000",
        "reference": "Größe “A”",
        "hypothesis": "größe b",
        "reference_normalised": "größe a",
        "hypothesis_normalised": "größe b",
        "word_errors": {
            "substitutions": 1,
            "deletions": 0,
            "insertions": 0,
            "reference_length": 2,
        },
        "character_errors": first["word_errors"],
        "duration": 1.0,
        "score": -1.5,
        "speaker": "",
        "confidence": None,
        "loudest": None,
        "contrast": None,
    }
    assert (second["reference"], second["speaker"]) == ("line\nbreak \ud800 \u2028", "anna")
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_hypotheses_that_cannot_be_written_are_an_error_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(CannotWriteError, match="cannot write .*no such file or directory"):
        result_of([scored(0, ErrorCounts())]).write_hypotheses(tmp_path / "no" / "folder.jsonl")


def test_the_recipe_decides_how_long_an_utterance_is(evaluator: Evaluator) -> None:
    half: FeatureRecipe = recipe("nemo", MELS, RATE // 2)
    result = replace(evaluator, recipe=half).evaluate([audio([8000])])
    assert result.utterances[0].duration == 1.0
