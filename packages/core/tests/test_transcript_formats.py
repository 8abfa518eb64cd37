"""Subtitles, CTM and JSON Lines, read by small parsers that know only the published formats."""

import html
import json
import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_lab.evaluation.transcription import Segment, Transcript, Word
from asr_lab.evaluation.transcription.cues import LINE, LINES, LONGEST, PAUSE, SHORTEST, cues
from asr_lab.evaluation.transcription.formats import WRITERS, ctm, json_line, srt, table, text, vtt
from asr_lab.evaluation.transcription.transcripts import join_words

HALF_MILLISECOND = 0.0005 + 1e-9
"""What rounding to milliseconds may move a time by, and the rounding of binary fractions."""
Cue = tuple[float, float, list[str]]

SPELLED = st.one_of(
    st.sampled_from(["<i>", "a&b", "-->", "&amp;", "naïve", "5>4", "1", "WEBVTT", "NOTE", "你好"]),
    st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=LINE),
)


@st.composite
def spoken(draw: st.DrawFn) -> list[tuple[str, int, int]]:
    """Draw words with start and end in milliseconds, as `timed` gives them, from any hour on."""
    clock, words = draw(st.integers(0, 5 * 3_600_000)), []
    for said in draw(st.lists(SPELLED, max_size=15)):
        start = clock + draw(st.sampled_from([0, 0, 40, 300, 799, 800, 801, 3000]))
        clock = start + draw(st.integers(1, 3000))
        words.append((said, start, clock))
    return words


def transcribed(said: list[tuple[str, int, int]]) -> Transcript:
    words = [Word(text=word, start=start / 1000, end=end / 1000) for word, start, end in said]
    return Transcript(
        path="a b.wav",
        duration=words[-1].end + 0.5 if words else 3.0,
        text=join_words([word.text for word in words]),
        words=tuple(words),
    )


def seconds(clock: str, point: str) -> float:
    """Read `hours:minutes:seconds` with three digits behind the point, and nothing else."""
    found = re.fullmatch(rf"(\d\d+):([0-5]\d):([0-5]\d){re.escape(point)}(\d\d\d)", clock)
    assert found, clock
    hours, minutes, whole, thousandths = map(int, found.groups())
    return 3600 * hours + 60 * minutes + whole + thousandths / 1000


def timing(line: str, point: str) -> tuple[float, float]:
    start, arrow, end = line.split(" ")
    assert arrow == "-->"
    return seconds(start, point), seconds(end, point)


def read_srt(content: str) -> list[Cue]:
    """Read SubRip: blocks apart by an empty line, of a number from 1 on, times and lines."""
    found: list[Cue] = []
    for number, block in enumerate(content.removesuffix("\n").split("\n\n") if content else [], 1):
        counter, times, *lines = block.split("\n")
        assert counter == str(number) and lines and all(lines)
        found.append((*timing(times, ","), lines))
    return found


def read_vtt(content: str) -> list[Cue]:
    """Read WebVTT (W3C): a signature, then cues whose text holds no markup that we did not mean."""
    header, *blocks = content.removesuffix("\n").split("\n\n")
    assert header == "WEBVTT"
    found: list[Cue] = []
    for block in blocks:
        times, *lines = block.split("\n")
        assert lines and all(lines)
        for line in lines:
            assert "<" not in line and "-->" not in line
            assert not re.search("&(?!(amp|lt|gt);)", line)
        found.append((*timing(times, "."), [html.unescape(line) for line in lines]))
    return found


def squeezed(content: str) -> str:
    """Return a text without what the breaking of lines may change."""
    return "".join(content.split())


@given(spoken())
def test_subtitles_read_back_are_the_cues_that_were_written(
    said: list[tuple[str, int, int]],
) -> None:
    transcript = transcribed(said)
    shown = cues(transcript)
    for found in (read_srt(srt(transcript)), read_vtt(vtt(transcript))):
        assert [lines for _, _, lines in found] == [cue.text.split("\n") for cue in shown]
        for (start, end, _), cue in zip(found, shown, strict=True):
            assert abs(start - cue.start) <= HALF_MILLISECOND
            assert abs(end - cue.end) <= HALF_MILLISECOND


@given(spoken())
def test_subtitles_say_every_word_once_and_in_order(said: list[tuple[str, int, int]]) -> None:
    transcript = transcribed(said)
    shown = "".join(line for _, _, lines in read_vtt(vtt(transcript)) for line in lines)
    assert squeezed(shown) == squeezed(transcript.text)


@given(spoken())
def test_a_subtitle_is_shown_for_some_time_and_gone_before_the_next(
    said: list[tuple[str, int, int]],
) -> None:
    transcript = transcribed(said)
    found = read_srt(srt(transcript))
    assert all(start < end for start, end, _ in found)
    assert all(left[1] <= right[0] for left, right in pairwise(found))


@given(spoken())
def test_a_subtitle_of_several_words_can_be_read_in_its_time(
    said: list[tuple[str, int, int]],
) -> None:
    transcript = transcribed(said)
    words = list(transcript.words)
    for cue in cues(transcript):
        inside = []
        while words and words[0].start < cue.end:
            inside.append(words.pop(0))
        lines = cue.text.split("\n")
        assert max(map(len, lines)) <= LINE and len(lines) <= LINES
        assert cue.start == inside[0].start and cue.end >= inside[-1].end
        if len(inside) > 1:
            assert inside[-1].end - inside[0].start <= LONGEST
        assert all(right.start - left.end < PAUSE for left, right in pairwise(inside))


@given(spoken())
def test_a_short_subtitle_stays_a_second_unless_another_follows(
    said: list[tuple[str, int, int]],
) -> None:
    transcript = transcribed(said)
    found = cues(transcript)
    following = [*(cue.start for cue in found[1:]), transcript.duration]
    for cue, after in zip(found, following, strict=False):
        assert cue.end - cue.start >= min(SHORTEST, after - cue.start) - HALF_MILLISECOND


@given(start=st.integers(0, 10_000), text_of_word=SPELLED)
def test_a_word_heard_at_the_very_end_is_still_shown(start: int, text_of_word: str) -> None:
    end = start / 1000
    word = Word(text=text_of_word, start=end, end=end)
    last = Transcript(path="a.wav", duration=end, text=text_of_word, words=(word,))
    ((begins, ends, _),) = read_vtt(vtt(last))
    assert begins < ends  # WebVTT allows no cue without a length


@pytest.mark.parametrize(
    ("start", "written"),
    [
        (0.0, "00:00:00,000"),
        (0.0005001, "00:00:00,001"),
        (59.9996, "00:01:00,000"),
        (3599.9996, "01:00:00,000"),
        (3661.001, "01:01:01,001"),
        (100 * 3600.0, "100:00:00,000"),
    ],
)
def test_clocks_carry_when_milliseconds_are_rounded(start: float, written: str) -> None:
    one = Segment(text="bed", start=start, end=start + 2)
    assert srt(Transcript(path="a.wav", segments=(one,))).split("\n")[1].startswith(written)


def test_without_word_times_each_segment_is_a_subtitle_with_broken_lines() -> None:
    parts = ("bed " * 30, "cab")
    first, second = (part.strip() for part in parts)
    segments = (
        Segment(text=first, start=0.0, end=9.0),
        Segment(text=second, start=9.0, end=18.0),
    )
    found = read_srt(srt(Transcript(path="a.wav", duration=18.0, segments=segments)))
    assert [(start, end) for start, end, _ in found] == [(0, 9), (9, 18)]
    assert [" ".join(lines) for _, _, lines in found] == [part.strip() for part in parts]
    assert max(len(line) for _, _, lines in found for line in lines) <= LINE


@pytest.mark.parametrize(
    ("kind", "written"),
    [("txt", "\n"), ("srt", ""), ("vtt", "WEBVTT\n"), ("ctm", "")],
)
def test_silence_is_a_file_that_its_readers_accept(kind: str, written: str) -> None:
    assert WRITERS[kind](Transcript(path="a.wav", duration=3.0)) == written


@given(spoken())
def test_ctm_lines_have_the_five_fields_of_nist(said: list[tuple[str, int, int]]) -> None:
    transcript = transcribed(said)
    lines = ctm(transcript).splitlines()
    assert len(lines) == len(transcript.words)
    latest = 0.0
    for line, word in zip(lines, transcript.words, strict=True):
        name, channel, start, duration, text_of_word = line.split(" ")
        assert (name, channel, text_of_word) == ("a_b", "1", word.text)
        assert re.fullmatch(r"\d+\.\d{3}", start) and re.fullmatch(r"\d+\.\d{3}", duration)
        assert abs(float(start) + float(duration) - word.end) <= 2 * HALF_MILLISECOND
        assert float(start) >= latest  # sclite wants them sorted
        latest = float(start)


@pytest.mark.parametrize(
    ("path", "name"),
    [("/x/my talk.wav", "my_talk"), ("a.b.flac", "a.b"), ("über\u3000x.wav", "über_x")],
)
def test_the_file_of_a_ctm_line_is_one_field(path: str, name: str) -> None:
    word = Word(text="bed", start=0.0, end=1.0)
    assert ctm(Transcript(path=path, words=(word,))).split() == [name, "1", "0.000", "1.000", "bed"]


@given(spoken())
def test_a_json_line_is_one_line_and_gives_the_transcript_back(
    said: list[tuple[str, int, int]],
) -> None:
    transcript = transcribed(said)
    line = json_line(transcript)
    assert line.endswith("\n") and line.count("\n") == 1
    found = json.loads(line)
    assert list(found) == ["file", "duration", "text", "words", "segments"]
    again = Transcript(
        path=found["file"],
        duration=found["duration"],
        text=found["text"],
        words=tuple(Word(**word) for word in found["words"]),
    )
    assert again == transcript


@given(path=st.text(min_size=1), said=st.lists(SPELLED))
def test_a_line_of_the_table_has_two_columns_whatever_the_path_is(
    path: str, said: list[str]
) -> None:
    line = table(Transcript(path=path, text=join_words(said)))
    assert line.count("\n") == 1 and len(line.splitlines()) == 1
    name, words = line.removesuffix("\n").split("\t")
    assert (name.split(), words) == (path.split(), join_words(said))


@given(st.lists(SPELLED))
def test_plain_text_is_one_line(said: list[str]) -> None:
    assert text(Transcript(path="a.wav", text=join_words(said))).splitlines() == [join_words(said)]


@given(st.lists(st.sampled_from(["bed", "cab", "你", "好", "。", "ก", "42"]), max_size=8))
def test_words_are_apart_but_for_neighbours_of_scripts_without_spaces(said: list[str]) -> None:
    joined = join_words(said)
    for left, right in pairwise(said):
        place = joined.index(left)
        joined = joined[place + len(left) :]
        apart = left.isascii() or right.isascii()
        assert joined.startswith(f" {right}" if apart else right)
