"""Recipes that turn sound into features, as plain numbers; torch-free, so that plans know sizes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from asr_lab.utils.errors import UserError, unknown

__all__ = ["FeatureRecipe", "RECIPES", "recipe"]

WINDOW_SECONDS = 0.025
HOP_SECONDS = 0.01


@dataclass(frozen=True, kw_only=True)
class FeatureRecipe:
    """How frames are cut from audio, and what is computed of each; samples lie in -1 to 1."""

    name: str
    """Name of the convention."""
    sample_rate: int
    """Sample rate of the audio, in Hz."""
    mels: int
    """Number of features of a frame: mel bands, or cepstral coefficients."""
    bands: int
    """Number of mel bands; more than `mels` only where cepstra are computed of them."""
    n_fft: int
    """Points of the Fourier transform."""
    window_length: int
    """Samples of a frame."""
    hop_length: int
    """Samples from one frame to the next."""
    first_sample: int
    """Sample at which the first frame starts; below 0, because it is centred."""
    rounding: int = 0
    """Samples beyond the last whole hop that earn one more frame, short of `hop_length`."""
    window: Literal["hann", "periodic_hann", "povey"] = "hann"
    """Shape of the window; Povey's is the Hann window to the power of 0.85."""
    edges: Literal["zeros", "reflect", "mirror"] = "zeros"
    """What lies outside the audio: silence, or the audio backwards without or with its last
    sample repeated."""
    preemphasis: float = 0.0
    """Share of the sample before that is taken off each sample."""
    frame_preemphasis: bool = False
    """Take the mean off each frame and pre-emphasise within it, not over the whole audio."""
    scale: float = 1.0
    """Factor of the samples; 32768 gives what Kaldi computes from 16-bit files."""
    mel_scale: Literal["slaney", "htk"] = "slaney"
    """Slaney's filters of equal area, or the HTK scale's of equal height."""
    low_frequency: float = 0.0
    """Lower end of the first band, in Hz; the last ends at half the sample rate."""
    log: Literal["add", "max", "log10"] = "max"
    """Natural logarithm with the floor added or as the least value; or base 10 with that."""
    floor: float = 1.1920928955078125e-07
    """Energy that keeps the logarithm finite."""
    normalisation: Literal["none", "per_feature", "peak"] = "none"
    """Per utterance: nothing; mean 0 and variance 1 of each feature; at most 8 decades below the
    peak, then (x + 4) / 4."""
    lifter: float = 0.0
    """Compute cepstra with this liftering coefficient; 0 to keep the logarithms of the bands."""

    def frames(self, samples: int) -> int:
        """Return the exact number of frames of audio with so many samples."""
        return (samples + self.rounding) // self.hop_length


def recipe(name: str, mels: int, sample_rate: int) -> FeatureRecipe:
    """Return the recipe of that name: nemo, nemo_plain, whisper, kaldi or mfcc.

    Raises UnknownNameError for another name and UserError for more bands than the transform can
    tell apart.
    """
    if name not in RECIPES:
        raise unknown("feature recipe", name, RECIPES)
    if sample_rate < 1000:
        raise UserError(f"sample-rate must be 1000 or more; got {sample_rate}")
    found = RECIPES[name](mels, sample_rate)
    if not 4 <= found.bands <= found.n_fft // 2 or mels < 1:
        raise UserError(
            f"mels must be from {1 if found.lifter else 4} to {found.n_fft // 2} "
            f"at {sample_rate} Hz; got {mels}"
        )
    return found


def nemo(mels: int, sample_rate: int) -> FeatureRecipe:
    """Return NeMo's log-mel features (class FilterbankFeatures, no dither), normalised."""
    window, hop = _sizes(sample_rate)
    n_fft = _power_of_two(window)
    return FeatureRecipe(
        name="nemo",
        sample_rate=sample_rate,
        mels=mels,
        bands=mels,
        n_fft=n_fft,
        window_length=window,
        hop_length=hop,
        first_sample=(n_fft - window) // 2 - n_fft // 2,
        preemphasis=0.97,
        log="add",
        floor=2.0**-24,
        normalisation="per_feature",
    )


def nemo_plain(mels: int, sample_rate: int) -> FeatureRecipe:
    """Return NeMo's features as its streaming models take them (`normalize: NA`): not normalised.

    Nothing about the utterance has to be known before it has ended.
    """
    return replace(nemo(mels, sample_rate), name="nemo_plain", normalisation="none")


def whisper(mels: int, sample_rate: int) -> FeatureRecipe:
    """Return Whisper's log-mel features (Radford et al. 2022), not padded to 30 s."""
    window, hop = _sizes(sample_rate)
    return FeatureRecipe(
        name="whisper",
        sample_rate=sample_rate,
        mels=mels,
        bands=mels,
        n_fft=window,
        window_length=window,
        hop_length=hop,
        first_sample=-(window // 2),
        window="periodic_hann",
        edges="reflect",
        log="log10",
        floor=1e-10,
        normalisation="peak",
    )


def kaldi(mels: int, sample_rate: int) -> FeatureRecipe:
    """Return Kaldi's log-mel features (compute-fbank-feats --snip-edges=false --dither=0)."""
    window, hop = _sizes(sample_rate)
    return FeatureRecipe(
        name="kaldi",
        sample_rate=sample_rate,
        mels=mels,
        bands=mels,
        n_fft=_power_of_two(window),
        window_length=window,
        hop_length=hop,
        first_sample=hop // 2 - window // 2,
        rounding=hop // 2,
        window="povey",
        edges="mirror",
        preemphasis=0.97,
        frame_preemphasis=True,
        mel_scale="htk",
        low_frequency=20.0,
    )


def mfcc(mels: int, sample_rate: int) -> FeatureRecipe:
    """Return Kaldi's cepstra (compute-mfcc-feats --snip-edges=false --dither=0 --use-energy=false).

    `mels` is the number of cepstra; they are computed of as many bands, and of 23 at least.
    """
    found = kaldi(max(mels, 23), sample_rate)
    return replace(found, name="mfcc", mels=mels, lifter=22.0)


def _sizes(sample_rate: int) -> tuple[int, int]:
    """Return the samples of 25 ms and of 10 ms."""
    return int(sample_rate * WINDOW_SECONDS), int(sample_rate * HOP_SECONDS)


def _power_of_two(length: int) -> int:
    """Return the smallest power of two that is not below `length`."""
    return 1 << (length - 1).bit_length()


RECIPES: Mapping[str, Callable[[int, int], FeatureRecipe]] = {
    "nemo": nemo,
    "nemo_plain": nemo_plain,
    "whisper": whisper,
    "kaldi": kaldi,
    "mfcc": mfcc,
}
"""Every recipe by name."""
