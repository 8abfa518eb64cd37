"""Write transcripts down: plain text, JSON Lines, SubRip, WebVTT, and NIST's CTM."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from asr_lab.evaluation.transcription.cues import Cue, cues
from asr_lab.evaluation.transcription.transcripts import Transcript

SINGLE = frozenset({"srt", "vtt"})
"""Formats of which a file holds one recording."""


def text(transcript: Transcript) -> str:
    """Return the bare text."""
    return f"{transcript.text}\n"


def table(transcript: Transcript) -> str:
    """Return `path<TAB>text`, whatever the path holds in one line."""
    return f"{' '.join(transcript.path.split())}\t{transcript.text}\n"


def json_line(transcript: Transcript) -> str:
    """Return one JSON object in a line."""
    return json.dumps(transcript.to_dict(), ensure_ascii=False) + "\n"


def srt(transcript: Transcript) -> str:
    """Return SubRip subtitles."""
    blocks = [
        f"{number}\n{_clock(cue.start, ',')} --> {_clock(cue.end, ',')}\n{cue.text}\n"
        for number, cue in enumerate(cues(transcript), 1)
    ]
    return "\n".join(blocks)


def vtt(transcript: Transcript) -> str:
    """Return WebVTT subtitles (W3C)."""
    return "\n".join(["WEBVTT\n", *map(_vtt_cue, cues(transcript))])


def _vtt_cue(cue: Cue) -> str:
    safe = cue.text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return f"{_clock(cue.start, '.')} --> {_clock(cue.end, '.')}\n{safe}\n"


def ctm(transcript: Transcript) -> str:
    """Return `file channel start duration word` lines, times in seconds (NIST SCTK).

    The file is the name without its ending, and spaces in it are underscores.
    """
    name = "_".join(Path(transcript.path).stem.split())
    return "".join(
        f"{name} 1 {word.start:.3f} {word.end - word.start:.3f} {word.text}\n"
        for word in transcript.words
    )


def _clock(seconds: float, point: str) -> str:
    """Return hours, minutes, seconds and milliseconds."""
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{rest // 1000:02}{point}{rest % 1000:03}"


WRITERS: Mapping[str, Callable[[Transcript], str]] = {
    "txt": text,
    "json": json_line,
    "srt": srt,
    "vtt": vtt,
    "ctm": ctm,
}
"""What writes one recording, by name of the format."""
