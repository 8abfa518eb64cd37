"""From samples to features on the training device, with augmentation on the way."""

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from asr_lab.audio.augmentation import (
    Recordings,
    add_noise,
    change_gain,
    change_speed,
    reverberate,
    spec_augment,
)
from asr_lab.audio.features import features, to_float
from asr_lab.audio.files import read_audio
from asr_lab.audio.recipes import FeatureRecipe
from asr_lab.data.audio_batch import AudioBatch
from asr_lab.data.reading import AUDIO_ENDINGS
from asr_lab.data.settings import DataConfig
from asr_lab.data.utterance import AudioSource
from asr_lab.models.base.batch import Batch
from asr_lab.models.base.sequences import Sequences
from asr_lab.utils.errors import UserError


@dataclass(frozen=True)
class Augmentation:
    """What is done to audio and features in training, drawn from each utterance's key."""

    config: DataConfig
    noises: Recordings | None = None
    """Noise recordings; None for coloured noise."""
    impulse_responses: Recordings | None = None
    """Room impulse responses; None for no reverberation."""

    @classmethod
    def load(cls, config: DataConfig, sample_rate: int, device: torch.device) -> "Augmentation":
        """Read the recordings that the settings name. Raises UserError for an empty folder."""
        noises = _recordings(config.noise_files, sample_rate, device)
        responses = _recordings(config.impulse_responses, sample_rate, device)
        return cls(config, noises, responses)

    def of_samples(
        self,
        samples: Float[Tensor, "batch samples"],
        lengths: Int64[Tensor, " batch"],
        keys: Int64[Tensor, " batch"],
    ) -> Float[Tensor, "batch samples"]:
        """Apply reverberation, noise and gain."""
        if self.impulse_responses is not None:
            samples = reverberate(samples, lengths, keys, self.impulse_responses)
        if self.config.noise_snr != (0.0, 0.0):
            samples = add_noise(samples, lengths, keys, self.config.noise_snr, self.noises)
        if self.config.gain_db:
            samples = change_gain(samples, keys, self.config.gain_db)
        return samples

    def of_features(
        self,
        values: Float[Tensor, "batch frames mels"],
        lengths: Int64[Tensor, " batch"],
        keys: Int64[Tensor, " batch"],
        centred: bool,
    ) -> Float[Tensor, "batch frames mels"]:
        """Apply SpecAugment; where features are not `centred` on 0, masks hold their mean."""
        c = self.config
        if not (c.freq_masks or c.time_masks):
            return values
        return spec_augment(
            values,
            lengths,
            keys,
            c.freq_masks,
            c.freq_width,
            c.time_masks,
            c.time_width,
            "zero" if centred else "mean",
        )


@torch.no_grad()
def to_batch(
    batch: AudioBatch,
    recipe: FeatureRecipe,
    device: torch.device,
    augment: Augmentation | None = None,
) -> Batch:
    """Move a batch to `device`, change its speed, augment it and compute its features.

    An invalid utterance becomes zeros of its nominal length.
    """
    samples = to_float(batch.samples.to(device, non_blocking=True))
    lengths = batch.lengths.to(device, non_blocking=True)
    keys = batch.keys.to(device, non_blocking=True)
    if bool((batch.speeds != 1).any()):
        samples, lengths = change_speed(samples, lengths, batch.speeds)
    if augment is not None:
        samples = augment.of_samples(samples, lengths, keys)
    values, frames = features(recipe, samples, lengths)
    if augment is not None:
        values = augment.of_features(values, frames, keys, recipe.normalisation == "per_feature")
    return Batch(
        features=Sequences(values, frames),
        tokens=batch.tokens.to(device, non_blocking=True),
        token_lengths=batch.token_lengths.to(device, non_blocking=True),
        utterance_ids=batch.utterance_ids,
        language=batch.language,
        keys=keys,
        valid=batch.valid.to(device, non_blocking=True),
    )


def lengths_only(batch: AudioBatch, recipe: FeatureRecipe) -> Batch:
    """Return the batch on the CPU without its features, for what only asks for lengths."""
    values = torch.zeros(len(batch), 0, recipe.mels)
    return Batch(
        features=Sequences(values, torch.zeros_like(batch.lengths)),
        tokens=batch.tokens,
        token_lengths=batch.token_lengths,
        utterance_ids=batch.utterance_ids,
        valid=batch.valid,
    )


def _recordings(folder: str, sample_rate: int, device: torch.device) -> Recordings | None:
    if not folder:
        return None
    files = sorted(f for f in Path(folder).rglob("*") if f.suffix.lower() in AUDIO_ENDINGS)
    if not files:
        raise UserError(f"no audio files in {folder}; looked for {', '.join(AUDIO_ENDINGS)}")
    read = (read_audio(AudioSource(path=str(file)), sample_rate) for file in files)
    return Recordings.of([to_float(torch.from_numpy(samples)).to(device) for samples in read])
