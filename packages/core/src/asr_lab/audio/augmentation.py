"""Changes of batches of audio and features that make training data more varied.

All of it runs on the device of its input, and draws from one key per utterance: an utterance with
the same key is changed alike in any batch.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Float, Float32, Int, Int64
from torch import Tensor

from asr_lab.audio.exact import transform_length
from asr_lab.audio.recordings import Recordings
from asr_lab.audio.speed import change_speed
from asr_lab.reproducibility.seeding import integers, normal, uniform
from asr_lab.utils.errors import UserError

__all__ = [
    "Recordings",
    "add_noise",
    "change_gain",
    "change_speed",
    "reverberate",
    "spec_augment",
]

COLOUR_TAPS = 512
"""Length of the filter that colours noise; it shapes frequencies from 1/512 of the rate."""


def spec_augment(
    features: Float[Tensor, "batch frames mels"],
    lengths: Int[Tensor, " batch"],
    keys: Int64[Tensor, " batch"],
    freq_masks: int = 2,
    freq_width: int = 27,
    time_masks: int = 2,
    time_width: float = 0.05,
    fill: Literal["zero", "mean"] = "zero",
) -> Float[Tensor, "batch frames mels"]:
    """Blank out random bands and stretches of time (SpecAugment, Park et al. 2019).

    Bands are 0 to `freq_width` mels wide, stretches up to `time_width` of the utterance's frames
    (0 to 1), all widths and places equally likely. `fill` 0 suits normalised features; `mean` is
    the utterance's own. Raises UserError for a width that cannot be.
    """
    if freq_width < 0 or not 0 <= time_width <= 1:
        raise UserError(
            "freq-width must be 0 or more and time-width from 0 to 1; "
            f"got {freq_width} and {time_width}"
        )
    frames, mels = features.shape[1:]
    bands = torch.full_like(lengths, mels)
    widest = (lengths.double() * time_width).to(lengths.dtype)
    covered = _stripes(keys, "frequency", freq_masks, bands, bands.clamp(max=freq_width), mels)
    stretches = _stripes(keys, "time", time_masks, lengths, widest, frames)
    covered = covered[:, None] | stretches[:, :, None]
    inside = _inside(lengths, frames)[..., None]
    if fill == "zero":
        return features.masked_fill(covered & inside, 0)
    total = features.float().masked_fill(~inside, 0).sum((1, 2))
    mean = (total / (lengths.clamp(min=1) * mels)).to(features.dtype)
    return torch.where(covered & inside, mean[:, None, None], features)


def _stripes(
    keys: Int64[Tensor, " batch"],
    purpose: str,
    count: int,
    lengths: Int[Tensor, " batch"],
    widest: Int[Tensor, " batch"],
    size: int,
) -> Bool[Tensor, "batch size"]:
    """Return True in `count` random stripes of up to `widest` places within each length."""
    widths = integers(keys, f"{purpose} mask width", count, widest + 1)
    starts = integers(keys, f"{purpose} mask start", count, lengths[:, None] - widths + 1)
    places = torch.arange(size, device=keys.device)
    after = places >= starts[..., None]
    return (after & (places < (starts + widths)[..., None])).any(1)


def change_gain(
    samples: Float[Tensor, "batch samples"], keys: Int64[Tensor, " batch"], max_db: float
) -> Float[Tensor, "batch samples"]:
    """Change each utterance's level by up to `max_db` decibels either way."""
    decibels = (2 * uniform(keys, "gain", 1) - 1) * max_db
    return samples * (10 ** (decibels / 20)).to(samples.dtype)


def add_noise(
    samples: Float[Tensor, "batch samples"],
    lengths: Int[Tensor, " batch"],
    keys: Int64[Tensor, " batch"],
    snr_db_range: tuple[float, float],
    noise: Recordings | Sequence[Float[Tensor, " _"]] | None = None,
) -> Float32[Tensor, "batch samples"]:
    """Add noise at a signal-to-noise ratio drawn from a range, in decibels.

    Noise is a stretch of one of the recordings, repeated if it is shorter; without recordings,
    noise whose power falls with frequency to the power of 0 (white) to 2 (brown). Powers are means
    over the utterance, so silence stays silent. Raises UserError for a range that runs backwards.
    """
    low, high = snr_db_range
    if low > high:
        raise UserError(f"noise-snr must be a range from low to high; got {low} to {high}")
    inside = _inside(lengths, samples.shape[1])
    if noise is None:
        added = _coloured(keys, samples.shape[1])
    else:
        added = _recorded(keys, samples.shape[1], _recordings(noise))
    added = added.masked_fill(~inside, 0)
    ratio = low + (high - low) * uniform(keys, "noise level", 1)
    wanted = _power(samples, inside) / 10 ** (ratio / 10)
    return samples + added * _root_of_ratio(wanted, _power(added, inside))


def _coloured(keys: Int64[Tensor, " batch"], count: int) -> Float32[Tensor, "batch count"]:
    """Return noise with a spectrum of its own for each key."""
    slope = 2 * uniform(keys, "noise colour", 1)
    bins = torch.arange(COLOUR_TAPS // 2 + 1, device=keys.device).clamp(min=1)
    response = torch.fft.irfft(bins ** (-slope / 2), COLOUR_TAPS).roll(COLOUR_TAPS // 2, -1)
    taps = response * torch.hann_window(COLOUR_TAPS, device=keys.device)
    white = normal(keys, "noise", count + COLOUR_TAPS - 1)
    return _filtered(white, taps)[:, COLOUR_TAPS - 1 : COLOUR_TAPS - 1 + count]


def _recorded(
    keys: Int64[Tensor, " batch"], count: int, noise: Recordings
) -> Float32[Tensor, "batch count"]:
    """Return a stretch of one of the recordings for each key."""
    chosen = integers(keys, "noise recording", 1, len(noise))[:, 0]
    first = integers(keys, "noise start", 1, noise.lengths[chosen])[:, 0]
    return noise.repeated(chosen, first, count)


def _recordings(given: Recordings | Sequence[Float[Tensor, " _"]]) -> Recordings:
    """Return recordings end to end; those that are already cost nothing."""
    return given if isinstance(given, Recordings) else Recordings.of(given)


def reverberate(
    samples: Float[Tensor, "batch samples"],
    lengths: Int[Tensor, " batch"],
    keys: Int64[Tensor, " batch"],
    impulse_responses: Recordings | Sequence[Float[Tensor, " _"]],
) -> Float32[Tensor, "batch samples"]:
    """Let each utterance sound as in one of the rooms, at the level and the time that it had.

    The strongest tap of a response counts as the direct sound. What would sound on behind the
    utterance's end is cut off. A response of zeros changes nothing.
    """
    rooms = _recordings(impulse_responses)
    responses = rooms.padded(integers(keys, "impulse response", 1, len(rooms))[:, 0])
    inside = _inside(lengths, samples.shape[1])
    dry = samples.float().masked_fill(~inside, 0)
    direct = responses.abs().argmax(1, keepdim=True)
    places = direct + torch.arange(samples.shape[1], device=samples.device)
    wet = _filtered(dry, responses, samples.shape[1] + responses.shape[1])
    wet = wet.gather(1, places).masked_fill(~inside, 0)
    before, after = _power(dry, inside), _power(wet, inside)
    return torch.where(after > 0, wet * _root_of_ratio(before, after), dry)


def _filtered(
    samples: Float32[Tensor, "batch samples"],
    taps: Float32[Tensor, "batch taps"],
    count: int | None = None,
) -> Float32[Tensor, "batch filtered"]:
    """Convolve each row with its taps by Fourier transform; at least `count` samples of it."""
    size = transform_length(count or samples.shape[1] + taps.shape[1])
    spectrum = torch.fft.rfft(samples, size) * torch.fft.rfft(taps, size)
    filtered: Tensor = torch.fft.irfft(spectrum, size)
    return filtered


def _inside(lengths: Int[Tensor, " batch"], size: int) -> Bool[Tensor, "batch size"]:
    """Return True where a place lies within the utterance."""
    return torch.arange(size, device=lengths.device) < lengths[:, None]


def _power(
    samples: Float[Tensor, "batch samples"], inside: Bool[Tensor, "batch samples"]
) -> Float32[Tensor, "batch 1"]:
    """Return the mean square of each utterance's samples."""
    total = samples.float().masked_fill(~inside, 0).square().sum(1, keepdim=True)
    power: Tensor = total / inside.sum(1, keepdim=True).clamp(min=1)
    return power


def _root_of_ratio(
    above: Float32[Tensor, "batch 1"], below: Float32[Tensor, "batch 1"]
) -> Float32[Tensor, "batch 1"]:
    """Return sqrt(above / below), and 0 where `below` is 0."""
    return torch.where(below > 0, above / below.clamp(min=1e-30), 0).sqrt()
