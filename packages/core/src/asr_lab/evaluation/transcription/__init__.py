"""Transcription of audio files: text, words with times, subtitles."""

from typing import TYPE_CHECKING

from asr_lab.plugins.lazy import lazy_attributes

if TYPE_CHECKING:
    from asr_lab.evaluation.transcription.streams import StreamTranscriber
    from asr_lab.evaluation.transcription.transcriber import Transcriber
    from asr_lab.evaluation.transcription.transcripts import Segment, Transcript, Word
else:
    __getattr__ = lazy_attributes(
        __name__,
        Segment="transcripts",
        StreamTranscriber="streams",
        Transcriber="transcriber",
        Transcript="transcripts",
        Word="transcripts",
    )

__all__ = ["Segment", "StreamTranscriber", "Transcriber", "Transcript", "Word"]
