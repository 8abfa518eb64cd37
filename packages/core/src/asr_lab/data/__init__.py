"""Corpora, the epoch plan and the loader."""

from asr_lab.data.utterance import AudioSource, Utterance

__all__ = ["AudioSource", "Utterance"]
