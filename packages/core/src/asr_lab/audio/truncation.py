"""Find audio files that end too early where the decoder would play what is left in silence."""

import re
from pathlib import Path

from asr_lab.audio.errors import AudioError

CUT_CHUNK = re.compile(r"^(?:data|SSND) *: (\d+) \(should be (\d+)\)", re.MULTILINE)
"""What libsndfile's log says where a WAV or AIFF file ends before its data do."""
STREAMED_CHUNK = 0x7FFFF000
"""A data chunk at least this long was written by a program that did not know its length."""
OGG_HEADER = 27
"""Bytes of an Ogg page before its segment table (RFC 3533, section 6)."""
OGG_PAGE = 65307
"""Most bytes of an Ogg page."""


def refuse_cut_chunk(log: str) -> None:
    """Raise AudioError if libsndfile's `log` of a WAV or AIFF file says that data are missing."""
    for said, found in CUT_CHUNK.findall(log):
        if int(found) < int(said) < STREAMED_CHUNK:
            raise AudioError(
                f"is cut off: {found} of {said} bytes of audio are there; get it again"
            )


def refuse_cut_ogg(content: str | bytes) -> None:
    """Raise AudioError if an Ogg file (its path or its bytes) ends within a page."""
    tail = content[-OGG_PAGE:] if isinstance(content, bytes) else _tail(Path(content))
    page = tail[tail.rfind(b"OggS") :]
    segments = page[OGG_HEADER : OGG_HEADER + page[OGG_HEADER - 1]] if len(page) > 26 else b""
    if len(page) < OGG_HEADER or len(page) < OGG_HEADER + page[26] + sum(segments):
        raise AudioError("is cut off: its last page is not complete; get it again")


def _tail(path: Path) -> bytes:
    """Return the end of a file, long enough to hold the start of its last page."""
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - OGG_PAGE, 0))
        return file.read()
