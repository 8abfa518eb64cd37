"""The generator of the embedded data set: its sentences, its voices, its container, its sound."""

import io
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile

from asr_lab.data.spoken import SAMPLE_RATE, SPLITS, read

TOOLS = Path(__file__).parents[1] / "tools"
SAME_SPEECH = 6.0
"""Signal to noise in decibels above which two recordings are the same speech through a codec."""


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the generator's modules be imported, as they are when it runs as a script."""
    monkeypatch.syspath_prepend(str(TOOLS))


def module(name: str) -> ModuleType:
    """Import one module of the generator."""
    return __import__(name)


@pytest.mark.usefixtures("tools")
def test_the_same_seed_gives_the_same_sentences_and_another_seed_others() -> None:
    grammar = module("spoken_grammar")
    assert grammar.sentences(300, 1) == grammar.sentences(300, 1)
    assert set(grammar.sentences(300, 1)) != set(grammar.sentences(300, 2))


@pytest.mark.usefixtures("tools")
def test_the_grammar_makes_many_more_sentences_than_the_data_set_takes() -> None:
    found = module("spoken_grammar").sentences(20_000, 3)
    assert len(set(found)) == 20_000
    assert all(3 <= len(sentence.split()) <= 9 for sentence in found)


@pytest.mark.usefixtures("tools")
def test_every_rule_of_the_grammar_is_reached_and_defined() -> None:
    grammar = module("spoken_grammar")
    text = "".join(grammar.RULES.values())
    used = {part.split("}")[0] for part in text.split("{")[1:]}
    assert used | {grammar.START} == set(grammar.RULES)


@pytest.mark.usefixtures("tools")
def test_a_family_of_voices_is_in_one_split_only_and_splits_have_their_size() -> None:
    voices = module("spoken_voices")
    for seed in range(20):
        split_of: dict[str, set[str]] = {}
        chosen = voices.voices(seed)
        for split, speakers in chosen.items():
            assert len({speaker.name for speaker in speakers}) == voices.VOICES[split]
            for speaker in speakers:
                split_of.setdefault(speaker.variant, set()).add(split)
        for family in voices.FAMILIES:
            assert len(set.union(*(split_of[variant] for variant in family))) == 1


@pytest.mark.usefixtures("tools")
def test_the_shipped_index_is_the_plan_of_the_generator() -> None:
    pytest.importorskip("espeakng_loader")
    rows = list(module("render_spoken").plan())
    shipped = [utterance for split in SPLITS for utterance in read(None, "en", split)]
    assert [(row.voice.name, row.text) for row in rows] == [(u.speaker, u.text) for u in shipped]
    assert Counter(row.split for row in rows) == module("render_spoken").SENTENCES


@pytest.mark.usefixtures("tools")
def test_the_first_sentences_sound_like_what_is_shipped() -> None:
    """Only nearly: the floating-point arithmetic of another machine may differ in the last bits."""
    pytest.importorskip("espeakng_loader")
    generator = module("render_spoken")
    synthesiser = module("espeak").Synthesiser()
    for row, utterance in zip(generator.plan(), list(read(None, "en", "train"))[:3], strict=False):
        speech = generator.speak(synthesiser, row)
        source = utterance.audio
        content = Path(source.path).read_bytes()[source.offset : source.offset + source.size]
        shipped = generator.decode(content)
        assert len(speech) == len(shipped)
        assert generator.signal_to_noise(speech, shipped) > SAME_SPEECH


@pytest.mark.usefixtures("tools")
def test_a_voice_that_is_not_there_is_refused_and_not_replaced() -> None:
    pytest.importorskip("espeakng_loader")
    voice = module("spoken_voices").Voice("en", "nobody", 150, 50, 50)
    synthesiser = module("espeak").Synthesiser.__new__(module("espeak").Synthesiser)
    synthesiser.data = TOOLS
    with pytest.raises(ValueError, match="no variant 'nobody'"):
        synthesiser.speak("hello", voice, 150, 50)


def opus(seconds: float, seed: int, level: float) -> tuple[bytes, np.ndarray]:
    """Return an Ogg Opus file of noise under a sine, as libsndfile writes it, and its samples."""
    draw = np.random.default_rng(seed)
    count = round(seconds * SAMPLE_RATE)
    samples = 0.3 * np.sin(np.arange(count) * 0.1) + 0.05 * draw.normal(size=count)
    target = io.BytesIO()
    soundfile.write(
        target, samples, SAMPLE_RATE, format="OGG", subtype="OPUS", compression_level=level
    )
    content = target.getvalue()
    return content, soundfile.read(io.BytesIO(content), dtype="float32")[0]


@pytest.mark.usefixtures("tools")
@pytest.mark.parametrize("seconds", [0.013, 0.5, 1.999, 5.2, 11.0])
@pytest.mark.parametrize("level", [0.98, 0.5])
def test_a_compact_file_decodes_to_the_same_samples(seconds: float, level: float) -> None:
    content, samples = opus(seconds, round(1000 * seconds), level)
    compact = module("ogg_opus").compact(content)
    found, rate = soundfile.read(io.BytesIO(compact), dtype="float32")
    assert rate == SAMPLE_RATE
    assert np.array_equal(found, samples)
    assert len(compact) < len(content) - 700


@pytest.mark.usefixtures("tools")
def test_a_compact_file_is_the_same_bytes_whatever_the_serial_number_was() -> None:
    ogg = module("ogg_opus")
    content, _ = opus(1.0, 1, 0.98)
    pages = list(ogg.read_pages(content))
    ogg_other = b"".join(ogg.write_page(page, number) for number, page in enumerate(pages))
    assert ogg_other != content
    assert ogg.compact(ogg_other) == ogg.compact(content)


@pytest.mark.usefixtures("tools")
def test_the_checksum_is_the_one_that_libsndfile_writes() -> None:
    ogg = module("ogg_opus")
    content, _ = opus(0.1, 2, 0.98)
    first = content[: content.index(b"OggS", 4)]
    blank = first[:22] + b"\0\0\0\0" + first[26:]
    assert ogg.checksum(blank) == int.from_bytes(first[22:26], "little")


@pytest.mark.usefixtures("tools")
def test_what_is_no_ogg_stream_is_refused() -> None:
    ogg = module("ogg_opus")
    with pytest.raises(ValueError, match="not an Ogg stream"):
        list(ogg.read_pages(b"RIFF" + bytes(100)))


@pytest.fixture(autouse=True)
def forget_the_tools() -> None:
    """Let no test see modules that another has imported under these short names."""
    for name in ("spoken_grammar", "spoken_voices", "espeak", "ogg_opus", "render_spoken"):
        sys.modules.pop(name, None)
