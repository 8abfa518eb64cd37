"""Log-mel spectrograms and cepstra of batches of audio, by the conventions of known recognisers."""

from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int, Int16, Int64
from torch import Tensor

from asr_lab.audio import filterbanks
from asr_lab.audio.exact import exact_product
from asr_lab.audio.recipes import FeatureRecipe, recipe

__all__ = ["FeatureRecipe", "features", "frame_lengths", "recipe", "to_float"]


def to_float(samples: Int16[Tensor, "*shape"]) -> Float32[Tensor, "*shape"]:
    """Return 16-bit samples on the scale of -1 to 1."""
    return samples.float() / 32768


def features(
    recipe: FeatureRecipe, samples: Float[Tensor, "batch samples"], lengths: Int[Tensor, " batch"]
) -> tuple[Float32[Tensor, "batch frames mels"], Int[Tensor, " batch"]]:
    """Compute the features of each utterance, and how many frames it has.

    Samples lie in -1 to 1. All is done in FP32, also inside autocast and with TF32 switched on.
    An utterance's features depend neither on what stands behind its length nor on the other
    utterances; frames behind its end are 0. There are `recipe.frames(samples.shape[1])` frames.
    """
    frames = recipe.frames(samples.shape[1])
    found = frame_lengths(recipe, lengths)
    if frames == 0 or len(samples) == 0:
        return samples.new_zeros(len(samples), frames, recipe.mels, dtype=torch.float32), found
    with torch.autocast(samples.device.type, enabled=False):
        power = _power(recipe, _cut(recipe, _extended(recipe, samples.float(), lengths, frames)))
        mask = torch.arange(frames, device=samples.device) < found[:, None]
        return _finished(recipe, _log(recipe, power), mask[..., None]), found


def frame_lengths(recipe: FeatureRecipe, lengths: Int[Tensor, " batch"]) -> Int[Tensor, " batch"]:
    """Return the number of frames of utterances with so many samples."""
    return torch.div(lengths + recipe.rounding, recipe.hop_length, rounding_mode="floor")


def _extended(
    recipe: FeatureRecipe,
    samples: Float32[Tensor, "batch samples"],
    lengths: Int[Tensor, " batch"],
    frames: int,
) -> Float32[Tensor, "batch extended"]:
    """Return the audio with what lies before and behind it, as long as the frames reach."""
    before, width = -recipe.first_sample, samples.shape[1]
    mask = torch.arange(width, device=samples.device) < lengths[:, None]
    extended = samples.new_zeros(len(samples), before + width + recipe.window_length)
    inside = extended[:, before : before + width]
    torch.mul(samples, recipe.scale, out=inside)
    if recipe.preemphasis and not recipe.frame_preemphasis:
        inside[:, 1:] -= recipe.preemphasis * inside[:, :-1].clone()
    inside.masked_fill_(~mask, 0)
    if recipe.edges != "zeros":
        reach = recipe.window_length
        at_start = torch.arange(-before, 0, device=samples.device).expand(len(samples), -1)
        at_end = lengths[:, None] + torch.arange(reach, device=samples.device)
        for places in (at_start, at_end):
            source = _folded(places, lengths[:, None], recipe.edges == "mirror")
            extended.scatter_(1, places + before, extended.gather(1, source + before))
    last = (frames - 1) * recipe.hop_length + recipe.window_length
    return extended[:, :last]


def _folded(
    places: Int64[Tensor, "batch places"], lengths: Int[Tensor, "batch 1"], repeat: bool
) -> Int64[Tensor, "batch places"]:
    """Return which samples lie at places outside audio that runs on backwards at either end.

    `repeat` repeats the sample at the end. Audio shorter than the way back is folded again.
    """
    lengths = lengths.long().clamp(min=1)
    if repeat:
        place = places.remainder(2 * lengths)
        return torch.minimum(place, 2 * lengths - 1 - place)
    period = (2 * lengths - 2).clamp(min=1)
    place = places.remainder(period)
    return torch.minimum(place, period - place).minimum(lengths - 1)


def _cut(
    recipe: FeatureRecipe, extended: Float32[Tensor, "batch extended"]
) -> Float32[Tensor, "batch frames window"]:
    """Cut the audio into frames, and multiply each with the window."""
    shape = _constants(recipe, extended.device)[0]
    cut = extended.unfold(1, recipe.window_length, recipe.hop_length)
    if not recipe.frame_preemphasis:
        return cut * shape
    cut = cut - cut.mean(-1, keepdim=True)
    before = torch.cat([cut[..., :1], cut[..., :-1]], -1)
    return (cut - recipe.preemphasis * before) * shape


def _power(
    recipe: FeatureRecipe, cut: Float32[Tensor, "batch frames window"]
) -> Float32[Tensor, "batch frames frequencies"]:
    """Return the power of each frequency."""
    spectrum = torch.fft.rfft(cut, recipe.n_fft)
    power: Tensor = spectrum.real.square().add_(spectrum.imag.square())
    return power


def _log(
    recipe: FeatureRecipe, power: Float32[Tensor, "batch frames frequencies"]
) -> Float32[Tensor, "batch frames mels"]:
    """Return the logarithms of the mel bands, or their cepstra."""
    _, filters, cosines = _constants(recipe, power.device)
    energy = exact_product(power, filters)
    if recipe.log == "add":
        return torch.log(energy + recipe.floor)
    energy = energy.clamp(min=recipe.floor)
    if recipe.log == "log10":
        return torch.log10(energy)
    energy = torch.log(energy)
    return exact_product(energy, cosines) if recipe.lifter else energy


def _finished(
    recipe: FeatureRecipe,
    values: Float32[Tensor, "batch frames mels"],
    mask: Bool[Tensor, "batch frames 1"],
) -> Float32[Tensor, "batch frames mels"]:
    """Normalise each utterance over its own frames, and clear those behind its end."""
    if recipe.normalisation == "peak":
        peak = values.masked_fill(~mask, -torch.inf).amax((1, 2), keepdim=True)
        values = (torch.maximum(values, peak - 8) + 4) / 4
    if recipe.normalisation == "per_feature":
        # Taking off the first frame leaves exact zeros of features that never change, so that
        # rounding is not blown up by dividing by a deviation of nearly 0.
        count = mask.sum(1, keepdim=True)
        values = (values - values[:, :1]).masked_fill(~mask, 0)
        centred = (values - values.sum(1, keepdim=True) / count.clamp(min=1)) * mask
        variance = centred.square().sum(1, keepdim=True) / (count - 1).clamp(min=1)
        values = centred / (variance.sqrt() + 1e-5)
    return values.masked_fill(~mask, 0)


@lru_cache(maxsize=32)
def _constants(recipe: FeatureRecipe, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Return window, mel filters and cosine transform on a device."""
    with torch.inference_mode(False):
        cosines = filterbanks.cosines(recipe) if recipe.lifter else np.zeros((0, 0))
        arrays = (filterbanks.window(recipe), filterbanks.mel_filters(recipe), cosines)
        window, filters, transform = (torch.from_numpy(a).float().to(device) for a in arrays)
    return window, filters, transform
