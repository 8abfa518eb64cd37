"""How a comparison is written down: numbers, HTML that texts cannot break, plots, sounds."""

import base64
import io
import math
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from asr_lab.audio.files import read_audio
from asr_lab.data.spoken import read
from asr_lab.evaluation.comparison import sounds
from asr_lab.evaluation.comparison.alignments import alignment
from asr_lab.evaluation.comparison.markup import Markup, element, escaped, join
from asr_lab.evaluation.comparison.plots import Scale, apart, figure, mark, short, steps
from asr_lab.evaluation.comparison.wording import (
    _text,
    count,
    plain,
    probability,
    rate,
    size,
    speed,
)
from asr_lab.evaluation.statistics import Interval
from asr_lab.utils.metrics import word_errors

UTTERANCES = list(read(None, "en", "test"))[:3]


class Reader(HTMLParser):
    """What a browser makes of HTML: elements with their texts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.path: list[str] = []
        self.texts: list[tuple[str, str]] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.path.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.path.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self.path[-1] if self.path else "", data))


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"])))
def test_any_text_comes_back_as_it_was_and_makes_no_element(text: str) -> None:
    found = Reader(element("p", text, title=text))
    assert "".join(data for _, data in found.texts) == text
    assert found.attributes == [("title", text)] and found.path == []
    assert {tag for tag, _ in found.texts} <= {"p"}


def test_what_html_cannot_hold_is_replaced() -> None:
    assert escaped("a\x00b\x1bc\ud800d\ne") == "a\ufffdb\ufffdc\ufffdd\ne"
    escaped("\ud800").encode()


def test_markup_is_not_escaped_again_and_void_elements_have_no_end() -> None:
    assert join("<", element("b", "<")) == "&lt;<b>&lt;</b>"
    assert element("input", id="x") == '<input id="x">'
    assert element("a", class_="b", data_value=1.5) == '<a class="b" data-value="1.5"></a>'
    assert isinstance(join(), Markup)


@pytest.mark.parametrize("rule", ["levenshtein", "sclite"])
@pytest.mark.parametrize(
    ("reference", "hypothesis"),
    [
        ("the cat sat on the mat", "cat sat down on a mat"),
        ("", "one two"),
        ("one two", ""),
        ("<b> & 'x'", '<i> & "y" z'),
    ],
)
def test_an_alignment_marks_each_error_once(rule: str, reference: str, hypothesis: str) -> None:
    found = alignment(reference, hypothesis, rule)  # type: ignore[arg-type]
    counts = word_errors(reference, hypothesis, rule)  # type: ignore[arg-type]
    marks = [found.count(f"<{tag}") for tag in ("ruby", "del", "ins")]
    assert marks == [counts.substitutions, counts.deletions, counts.insertions]
    texts = Reader(found).texts
    heard = [word for tag, word in texts if tag in ("span", "ruby", "ins") and word.strip()]
    said = [word for tag, word in texts if tag in ("span", "rt", "del") and word.strip()]
    assert (" ".join(said), " ".join(heard)) == (reference, hypothesis)


def test_nothing_said_and_nothing_heard_is_told() -> None:
    assert "nothing was said" in alignment("", "", "levenshtein")


def test_numbers_are_written_as_people_write_them() -> None:
    assert [probability(p) for p in (0.0004, 0.001, 0.0412, 0.41)] == [
        *("p < 0.001", "p = 0.001", "p = 0.041", "p = 0.41")
    ]
    assert [count(n) for n in (0, 950, 12_300, 109_000_000, 1_500_000_000)] == [
        *("", "950", "12.3 k", "109 M", "1.5 G")
    ]
    assert [size(n) for n in (0, 3 << 20, 5 << 30)] == ["", "3.0 MiB", "5.0 GiB"]
    assert [speed(x) for x in (math.nan, 0.5, 740.2, 9100.0)] == ["", "0.5", "740", "9,100"]
    interval = Interval(low=0.04, high=0.06, confidence=0.95, method="")
    assert rate(0.05, interval) == "5.00 % [4.00, 6.00]" and rate(0.05, None) == "5.00 %"
    assert rate(math.inf, interval) == "no words"


def test_names_do_not_rule_the_terminal_or_the_table() -> None:
    assert plain("a\x1b[31mb\u202ec\nd") == "a\ufffd[31mb\ufffdc\ufffdd"
    assert _text("a|b *c* <d> [e](f)") == "a\\|b \\*c\\* \\<d\\> \\[e\\](f)"


@given(st.floats(1e-6, 50))
def test_an_axis_has_few_round_numbers_and_reaches_the_highest_value(high: float) -> None:
    found = steps(high)
    assert found[0] == 0 and found[-1] >= high * (1 - 1e-9) and 3 <= len(found) <= 8
    assert found == sorted(set(found))


def test_a_scale_keeps_order_and_keeps_to_its_ends() -> None:
    scale, powers = Scale(0, 10), Scale(1, 1000, True)
    assert scale(-5) == scale(0) < scale(5) < scale(10) == scale(99)
    assert powers(10) - powers(1) == pytest.approx(powers(100) - powers(10), abs=0.2)
    assert Scale(0, 0)(0) == scale(0)


def test_labels_move_apart_and_keep_their_order() -> None:
    assert apart([10.0, 12.0, 100.0], 15.0) == [10.0, 25.0, 100.0]
    assert apart([12.0, 10.0, 11.0], 5.0) == [20.0, 10.0, 15.0]


def test_a_plot_is_proper_xml_and_a_rate_without_words_has_no_mark() -> None:
    drawn = mark(Scale(0, 1), 10, 0.5, (0.4, 0.6), 2)
    text = figure("<title>", "caption", 50, drawn, mark(Scale(0, 1), 10, math.inf, None, 0))
    found = ElementTree.fromstring(text[text.index("<svg") : text.index("</figure>")])
    assert found.attrib["aria-label"] == "<title>" and len(found.findall("circle")) == 1
    line = found.find("line")
    assert line is not None and float(line.attrib["x1"]) < float(line.attrib["x2"])


def test_a_long_name_keeps_its_end() -> None:
    assert short("a" * 46) == "a" * 46
    assert short("a" * 60 + "end").endswith("aend") and len(short("a" * 60)) == 46


def test_players_hold_the_audio_bit_for_bit() -> None:
    by_id = {one.id: one for one in UTTERANCES}
    found, note = sounds.players([*by_id, "missing"], by_id)
    assert list(found) == list(by_id) and note == "no audio of 'missing' and 0 others"
    for one in UTTERANCES:
        kind, content = found[one.id].split(",")
        assert kind == "data:audio/flac;base64"
        samples, sample_rate = soundfile.read(io.BytesIO(base64.b64decode(content)), dtype="int16")
        assert sample_rate == sounds.RATE
        assert np.array_equal(samples, read_audio(one.audio, sounds.RATE))


def test_a_page_holds_no_more_audio_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sounds, "MOST_BYTES", 10)
    found, note = sounds.players([one.id for one in UTTERANCES], {u.id: u for u in UTTERANCES})
    assert len(found) == 1 and note == "the page is full: no audio of 2 more utterances"


@pytest.mark.parametrize("ratio", [10.0, 30.0, 50.0])
def test_contrast_is_the_ratio_of_speech_to_noise_where_there_are_pauses(ratio: float) -> None:
    draw = np.random.default_rng(0)
    samples = draw.normal(size=sounds.RATE * 2) * 8000 * 10 ** (-ratio / 20)
    samples[: sounds.RATE] += draw.normal(size=sounds.RATE) * 8000
    found = sounds.contrast(np.clip(samples, -32768, 32767).astype(np.int16))
    assert found == pytest.approx(ratio, abs=2.5)


def test_contrast_of_silence_and_of_almost_nothing_is_no_ratio() -> None:
    assert sounds.contrast(np.zeros(16000, np.int16)) == 0
    assert math.isnan(sounds.contrast(np.zeros(100, np.int16)))
