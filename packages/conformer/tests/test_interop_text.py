"""What NeMo heard is what this lab hears, and transformers' `generate`, decision by decision."""

from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from asr_lab.models.base import Batch, DecodingOptions, Hypothesis, Sequences
from asr_lab.models.conformer import ConformerASRModel
from asr_lab.models.conformer.interop import read_nemo, read_parakeet, write_parakeet

FIXTURES = Path(__file__).parent / "fixtures" / "nemo"
KINDS = ("ctc", "rnnt", "tdt")
SAID = ["a dog ate the bread", "one two three", "the cat sat on the mat"]
"""What the archives' weights were overfitted to hear."""
LONGEST = 200
"""More decisions than any utterance here takes."""
Peer: TypeAlias = Any
"""A model of transformers, which declares no types that a checker could use."""


class Decision(NamedTuple):
    """One choice of a greedy search, blanks included."""

    row: int
    step: int
    token: int
    duration: int


@cache
def golden(name: str) -> dict[str, Tensor]:
    return load_file(FIXTURES / "sound.safetensors") | load_file(FIXTURES / f"{name}.safetensors")


@cache
def archive(name: str) -> ConformerASRModel:
    return read_nemo(FIXTURES / f"{name}.nemo")[0]


def decisions(name: str, kind: str) -> list[Decision]:
    """Return every decision of NeMo's networks."""
    found = golden(name)
    if kind == "ctc":
        best = found["ctc"].argmax(-1)
        places = [(row, step) for row, end in enumerate(found["steps"]) for step in range(int(end))]
        return [Decision(row, step, int(best[row, step]), 1) for row, step in places]
    return [Decision(r, step, token, by) for r, step, _, token, by in found["decisions"].tolist()]


def tokens_of(kind: str, path: list[Decision], row: int) -> list[Decision]:
    """Return the decisions of an utterance that became tokens."""
    kept = [one for one in path if one.row == row]
    if kind == "ctc":
        before = [-1, *(one.token for one in kept)]
        kept = [one for one, last in zip(kept, before, strict=False) if one.token != last]
    return [one for one in kept if one.token != archive(kind).config.blank_id]


def features() -> Sequences:
    found = golden("ctc")
    return Sequences(found["features"], found["frames"].long())


def heard(model: ConformerASRModel, decoding: DecodingOptions | None = None) -> list[Hypothesis]:
    nothing = torch.zeros(len(SAID), 1, dtype=torch.int64)
    batch = Batch(features=features(), tokens=nothing, token_lengths=nothing[:, 0])
    with torch.no_grad():
        return model.transcribe(batch, decoding or DecodingOptions())


@pytest.mark.parametrize(
    ("name", "kind"),
    [("ctc", "ctc"), ("rnnt", "rnnt"), ("tdt", "tdt"), ("hybrid", "rnnt"), ("hybrid", "ctc")],
)
def test_the_archives_emit_as_trained_models_do(name: str, kind: str) -> None:
    """The comparisons below say nothing where all is blank, or one token for ever."""
    path, blank = decisions(name, kind), archive(name).config.blank_id
    assert 0.6 <= sum(one.token == blank for one in path) / len(path) <= 0.9
    assert len({one.token for one in path} - {blank}) >= 10
    stays = Counter((one.row, one.step) for one in path if one.token != blank)
    assert max(stays.values()) < DecodingOptions().max_symbols
    if kind == "rnnt":
        assert max(stays.values()) >= 2, "no step has two tokens"
    if kind == "tdt":
        used = [{one.duration for one in path if (one.token == blank) is b} for b in (True, False)]
        assert used == [{1, 2}, {0, 1, 2, 3, 4}]


@pytest.mark.parametrize("kind", ["rnnt", "tdt"])
def test_every_token_is_at_the_step_where_nemo_says_it(kind: str) -> None:
    for row, hypothesis in enumerate(heard(archive(kind))):
        wanted = tokens_of(kind, decisions(kind, kind), row)
        assert list(hypothesis.tokens) == [one.token for one in wanted]
        assert list(hypothesis.times) == [one.step for one in wanted]
        if kind == "tdt":
            assert list(hypothesis.ends) == [one.step + one.duration for one in wanted]


@pytest.mark.parametrize("kind", ["rnnt", "tdt"])
def test_a_lower_limit_of_symbols_would_have_changed_the_text(kind: str) -> None:
    free = [one.tokens for one in heard(archive(kind))]
    assert free != [one.tokens for one in heard(archive(kind), DecodingOptions(max_symbols=1))]


# transformers


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Write what NeMo trained as folders of transformers."""
    found = {}
    for kind in KINDS:
        model, tokenizer = read_nemo(FIXTURES / f"{kind}.nemo")
        if kind == "tdt":
            # Theirs looks for the token that it prints among the durations too.
            with torch.no_grad():
                model.transducer.out.bias[model.config.vocab + 1 :] -= 100  # type: ignore[union-attr]
        found[kind] = tmp_path_factory.mktemp(kind)
        write_parakeet(model, tokenizer, found[kind])
    return found


def generated(kind: str, folder: Path) -> list[Decision]:
    """Return every choice of their greedy search within the utterances."""
    transformers = pytest.importorskip("transformers")
    theirs = getattr(transformers, f"ParakeetFor{kind.upper()}").from_pretrained(folder).eval()
    inputs = {"input_features": features().values, "attention_mask": features().mask()}
    blank = theirs.config.vocab_size - 1
    if kind == "ctc":
        tokens = theirs.generate(**inputs)
        durations = torch.ones_like(tokens)
    else:
        assert theirs.generation_config.decoder_start_token_id == blank
        found = theirs.generate(**inputs, max_length=LONGEST)
        assert found.sequences.shape[1] < LONGEST, "their search was cut short"
        assert found.sequences[:, 0].eq(blank).all() and found.durations[:, 0].eq(0).all()
        tokens, durations = found.sequences[:, 1:], found.durations[:, 1:]
    steps = durations.cumsum(1) - durations
    return [
        Decision(row, *(int(part[row, place]) for part in (steps, tokens, durations)))
        for row, end in enumerate(golden(kind)["steps"].tolist())
        for place in range(tokens.shape[1])
        if steps[row, place] < end
    ]


@pytest.mark.filterwarnings("ignore")  # theirs, on import
@pytest.mark.parametrize("kind", KINDS)
def test_generate_decides_as_nemo_and_says_what_we_say(kind: str, folders: dict[str, Path]) -> None:
    path = generated(kind, folders[kind])
    assert path == decisions(kind, kind)
    model, tokenizer = read_parakeet(folders[kind])
    said = heard(model)
    assert [list(one.tokens) for one in said] == [
        [one.token for one in tokens_of(kind, path, row)] for row in range(len(SAID))
    ]
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoTokenizer.from_pretrained(folders[kind])
    for hypothesis, text in zip(said, SAID, strict=True):
        assert tokenizer.decode(hypothesis.tokens) == text
        assert theirs.decode(hypothesis.tokens, group_tokens=False).strip() == text


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_weight_would_have_changed_the_text(kind: str, folders: dict[str, Path]) -> None:
    model, _ = read_parakeet(folders[kind])
    layer = model.head.linear if model.head is not None else model.transducer.out  # type: ignore[union-attr]
    with torch.no_grad():
        layer.weight[: model.config.vocab] = layer.weight[: model.config.vocab].roll(1, 0)
    wanted = [one.tokens for one in heard(archive(kind))]
    assert [one.tokens for one in heard(model)] != wanted
