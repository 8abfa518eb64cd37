"""Windows, mel filters and cosine transforms of the feature recipes, in double precision."""

import numpy as np
from jaxtyping import Float64

from asr_lab.audio.recipes import FeatureRecipe

SLANEY_LINEAR_HZ = 1000.0
"""Slaney's scale is linear up to here, with 15 mel, and logarithmic above."""
SLANEY_LINEAR_MEL = 15.0
SLANEY_LOG_STEP = np.log(6.4) / 27


def window(recipe: FeatureRecipe) -> Float64[np.ndarray, " samples"]:
    """Return the window that each frame is multiplied with."""
    length = recipe.window_length
    period = length if recipe.window == "periodic_hann" else length - 1
    hann: np.ndarray = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / period)
    return np.clip(hann, 0, 1) ** 0.85 if recipe.window == "povey" else hann


def mel_filters(recipe: FeatureRecipe) -> Float64[np.ndarray, "frequencies bands"]:
    """Return the weight of each frequency of the transform in each mel band.

    Slaney's filters are triangles over Hz, scaled to equal area (Auditory Toolbox, 1998); the HTK
    filters are triangles over mel (The HTK Book, section 5.6).
    """
    slaney = recipe.mel_scale == "slaney"
    to_mel = _slaney_mel if slaney else _htk_mel
    frequencies = np.arange(recipe.n_fft // 2 + 1) * recipe.sample_rate / recipe.n_fft
    low, high = to_mel(np.array([recipe.low_frequency, recipe.sample_rate / 2]))
    corners = np.linspace(low, high, recipe.bands + 2)
    if not slaney:
        # Kaldi leaves out the frequency at half the sample rate; the last triangle is 0 there.
        return _triangles(to_mel(frequencies), corners)
    corners = _slaney_hz(corners)
    area = (corners[2:] - corners[:-2]) / 2
    filters: np.ndarray = _triangles(frequencies, corners) / area
    return filters


def cosines(recipe: FeatureRecipe) -> Float64[np.ndarray, "bands mels"]:
    """Return the orthonormal DCT-II of the bands, first `mels` coefficients, liftered.

    Kaldi's liftering: coefficient i times 1 + lifter / 2 * sin(pi * i / lifter).
    """
    order = np.arange(recipe.mels)
    position = np.arange(recipe.bands)[:, None] + 0.5
    matrix = np.cos(np.pi / recipe.bands * position * order) * np.sqrt(2 / recipe.bands)
    matrix[:, 0] /= np.sqrt(2)
    liftered: np.ndarray = matrix * (1 + recipe.lifter / 2 * np.sin(np.pi * order / recipe.lifter))
    return liftered


def _triangles(
    points: Float64[np.ndarray, " frequencies"], corners: Float64[np.ndarray, " corners"]
) -> Float64[np.ndarray, "frequencies bands"]:
    """Return, at each point, triangles of height 1 from each corner to the next but one."""
    left, centre, right = corners[:-2], corners[1:-1], corners[2:]
    up = (points[:, None] - left) / (centre - left)
    down = (right - points[:, None]) / (right - centre)
    found: np.ndarray = np.maximum(0, np.minimum(up, down))
    return found


def _htk_mel(frequencies: Float64[np.ndarray, " points"]) -> Float64[np.ndarray, " points"]:
    """Return mel of Hz by the HTK formula."""
    mel: np.ndarray = 1127 * np.log1p(frequencies / 700)
    return mel


def _slaney_mel(frequencies: Float64[np.ndarray, " points"]) -> Float64[np.ndarray, " points"]:
    """Return mel of Hz on Slaney's scale."""
    linear = frequencies * SLANEY_LINEAR_MEL / SLANEY_LINEAR_HZ
    above = np.maximum(frequencies, SLANEY_LINEAR_HZ) / SLANEY_LINEAR_HZ
    logarithmic = SLANEY_LINEAR_MEL + np.log(above) / SLANEY_LOG_STEP
    mel: np.ndarray = np.where(frequencies < SLANEY_LINEAR_HZ, linear, logarithmic)
    return mel


def _slaney_hz(mels: Float64[np.ndarray, " points"]) -> Float64[np.ndarray, " points"]:
    """Return Hz of mel on Slaney's scale."""
    linear = mels * SLANEY_LINEAR_HZ / SLANEY_LINEAR_MEL
    logarithmic = SLANEY_LINEAR_HZ * np.exp(SLANEY_LOG_STEP * (mels - SLANEY_LINEAR_MEL))
    hz: np.ndarray = np.where(mels < SLANEY_LINEAR_MEL, linear, logarithmic)
    return hz
