"""Sound: reading files, features of it, and changes of it for training."""

from typing import TYPE_CHECKING

from asr_lab.plugins.lazy import lazy_attributes

if TYPE_CHECKING:
    from asr_lab.audio.errors import AudioError
    from asr_lab.audio.files import audio_duration, read_audio
    from asr_lab.audio.lengths import resampled_length, sped_up_length
    from asr_lab.audio.recipes import FeatureRecipe, recipe
else:
    __getattr__ = lazy_attributes(
        __name__,
        AudioError="errors",
        FeatureRecipe="recipes",
        audio_duration="files",
        read_audio="files",
        recipe="recipes",
        resampled_length="lengths",
        sped_up_length="lengths",
    )

__all__ = [
    "AudioError",
    "FeatureRecipe",
    "audio_duration",
    "read_audio",
    "recipe",
    "resampled_length",
    "sped_up_length",
]
