"""The data set classes, where trainers look for them; they live in `asr_lab.data`."""

from asr_lab.data.audio_batch import AudioBatch
from asr_lab.data.index import Index
from asr_lab.data.loader import AudioDataset
from asr_lab.data.utterance import AudioSource, Utterance

__all__ = ["AudioBatch", "AudioDataset", "AudioSource", "Index", "Utterance"]
