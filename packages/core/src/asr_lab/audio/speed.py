"""Change the speed of batches of audio, pitch included, by band-limited interpolation."""

from fractions import Fraction
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, Int
from torch import Tensor

from asr_lab.audio.exact import exact_product
from asr_lab.audio.lengths import sped_up_length, speed_ratio

CROSSINGS = 24
"""Zero crossings of the sinc on either side; with this window aliases stay below -80 dB."""
KAISER_BETA = 9.0
EDGE = 1e-9
"""A tap this close to the window's end is left out, whichever way its distance is rounded."""
ROLL_OFF = 0.94
"""Upper end of the pass band, as a fraction of the lower of the two Nyquist frequencies."""


def change_speed(
    samples: Float[Tensor, "batch samples"],
    lengths: Int[Tensor, " batch"],
    speeds: Float[Tensor, " batch"],
) -> tuple[Float32[Tensor, "batch changed"], Int[Tensor, " batch"]]:
    """Play each utterance `speeds` times as fast, and return its new length too.

    New lengths are `sped_up_length`'s. Windowed-sinc interpolation (Smith and Gossett 1984), for
    all utterances of one speed together. `speeds` are best kept on the CPU: they are read there.
    """
    known = [speed_ratio(speed) for speed in speeds.tolist()]
    widths = [sped_up_length(samples.shape[1], float(ratio)) for ratio in known]
    inside = torch.arange(samples.shape[1], device=samples.device) < lengths[:, None]
    samples = samples.float().masked_fill(~inside, 0)
    changed = samples.new_zeros(len(samples), max(widths, default=0))
    for ratio in sorted(set(known)):
        rows = torch.tensor([i for i, one in enumerate(known) if one == ratio])
        rows = rows.to(samples.device)
        played = samples[rows] if ratio == 1 else _played(samples[rows], ratio)
        width = min(changed.shape[1], played.shape[1])
        changed[rows, :width] = played[:, :width]
    found = _lengths(lengths, known)
    inside = torch.arange(changed.shape[1], device=samples.device) < found[:, None]
    return changed.masked_fill_(~inside, 0), found


def _lengths(lengths: Int[Tensor, " batch"], ratios: list[Fraction]) -> Int[Tensor, " batch"]:
    """Return `sped_up_length` of each."""
    above = lengths.new_tensor([ratio.numerator for ratio in ratios])
    below = lengths.new_tensor([ratio.denominator for ratio in ratios])
    found = torch.div(2 * lengths * below + above, 2 * above, rounding_mode="floor")
    return torch.maximum(found, lengths.clamp(max=1))


def _played(
    samples: Float32[Tensor, "batch samples"], ratio: Fraction
) -> Float32[Tensor, "batch changed"]:
    """Interpolate the samples at every multiple of `ratio`.

    Every `numerator` samples of the input the same `denominator` filters apply again.
    """
    filters = _filters(ratio, samples.device)
    before = _reach(ratio)
    blocks = -(-samples.shape[1] // ratio.numerator) + 1
    end = (blocks - 1) * ratio.numerator + len(filters)
    behind = max(end - before - samples.shape[1], 0)
    extended = torch.nn.functional.pad(samples, (before, behind))[:, :end]
    return exact_product(extended.unfold(1, len(filters), ratio.numerator), filters).flatten(1)


def _reach(ratio: Fraction) -> int:
    """Return how many samples before and behind a place its filter reaches."""
    return int(np.ceil(CROSSINGS * max(1.0, float(ratio)) / ROLL_OFF))


@lru_cache(maxsize=64)
def _filters(ratio: Fraction, device: torch.device) -> Float32[Tensor, "taps phases"]:
    """Return one filter for each of the places between samples that occur."""
    with torch.inference_mode(False):
        return torch.from_numpy(interpolation_filters(ratio)).float().to(device)


def interpolation_filters(ratio: Fraction) -> Float64[np.ndarray, "taps phases"]:
    """Return, for output sample i of a block, the weights of the input samples around it."""
    reach = _reach(ratio)
    places = np.arange(ratio.denominator) * float(ratio)
    taps = int(places[-1]) + 2 * reach + 1
    distance = places + reach - np.arange(taps)[:, None]
    share = np.clip(1 - (distance / reach) ** 2, 0, None)
    weights = np.sinc(distance * ROLL_OFF / max(1, float(ratio))) * np.i0(
        KAISER_BETA * np.sqrt(share)
    )
    weights *= share > EDGE
    scaled: np.ndarray = weights / weights.sum(0)
    return scaled
