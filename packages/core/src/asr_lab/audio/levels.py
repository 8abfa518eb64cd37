"""How loud audio is over time: silence, speech above noise, clipping, bandwidth; torch-free."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, Int16

FRAME_SECONDS = 0.02
"""Length of the stretches whose level is taken."""
FLOOR = -100.0
"""Level, in dBFS, below which nothing is told apart; digital silence has it."""
SILENCE = -60.0
"""Audio that is nowhere louder than this, in dBFS, has no speech in it."""
NEAR, ABOVE_NOISE, BELOW_SPEECH = 40.0, 10.0, 20.0
"""A frame is sound if it is less than 40 dB below the loudest one, and 10 dB above the noise where
that is 20 dB below the loudest one or more."""
STEADY = 3
"""Sound begins with so many frames in a row: a click is none."""
STEP, FULL = 1 / 32768, 0.999
"""Samples of 16 bits reach one step further down than up; both are cut off at full scale."""
FLAT = 3
"""So many equal samples in a row at the peak have been cut off there."""
LOUD = 0.1
"""Peaks below this part of full scale are flat because 16 bits are coarse, and not cut off."""
MOST_ENERGY = 1e-6
"""Share of the energy that may lie above the bandwidth: 60 dB down."""


@dataclass(frozen=True, kw_only=True)
class Levels:
    """Levels of a stretch of audio, in dB below full scale (dBFS)."""

    peak: float
    """Largest sample."""
    loudest: float
    """Root mean square of the loudest frame of 20 ms."""
    speech: float
    """95th percentile of the frames' levels."""
    noise: float
    """10th percentile of the frames' levels."""
    leading: float
    """Seconds before the first sound."""
    trailing: float
    """Seconds after the last sound."""
    clipped: float
    """Share of the samples that were cut off at the peak."""
    bandwidth: float = 0.0
    """Frequency, in Hz, above which there is a millionth of the energy; 0 where not measured."""

    @property
    def silent(self) -> bool:
        """True where nothing is loud enough to be speech."""
        return self.loudest <= SILENCE

    @property
    def contrast(self) -> float:
        """Speech over noise, in dB: a rough signal-to-noise ratio; 0 for silence and for hum."""
        return self.speech - self.noise


class LevelMeter:
    """Measures audio that comes in blocks; memory grows by 50 numbers a second."""

    def __init__(self, sample_rate: int, *, spectrum: bool = False) -> None:
        """Start; with `spectrum`, the bandwidth is measured too."""
        self.rate = sample_rate
        self.frame = max(round(FRAME_SECONDS * sample_rate), 1)
        self._rest = np.zeros(0, np.float32)
        self._powers: list[Float64[np.ndarray, " frames"]] = []
        self._spectrum = np.zeros(self.frame // 2 + 1) if spectrum else None
        self._window = np.hanning(self.frame)
        self._samples, self._peak, self._tops = 0, 0.0, 0

    def add(self, samples: Float32[np.ndarray, " samples"]) -> None:
        """Take more samples, from -1 to 1."""
        self._samples += len(samples)
        self._count_tops(samples)
        joined = np.concatenate([self._rest, samples])
        whole = len(joined) // self.frame * self.frame
        self._measure(joined[:whole].reshape(-1, self.frame))
        self._rest = joined[whole:]

    def _measure(self, frames: Float32[np.ndarray, "frames samples"]) -> None:
        if not len(frames):
            return
        wide = frames.astype(np.float64)
        self._powers.append((wide * wide).mean(1))
        if self._spectrum is not None:
            found = np.fft.rfft(wide * self._window, axis=1)
            self._spectrum += (found.real**2 + found.imag**2).sum(0)

    def _count_tops(self, samples: Float32[np.ndarray, " samples"]) -> None:
        """Count samples of flat tops at the largest value so far; earlier, lower tops are none."""
        if not len(samples):
            return
        size = np.abs(samples)
        peak = float(size.max())
        if peak > self._peak:
            self._peak, self._tops = peak, 0
        if peak == self._peak and peak > 0:
            slack = STEP if peak >= FULL else 0.0
            self._tops += _in_runs(size >= np.float32(peak - slack))

    def levels(self) -> Levels:
        """Return what was measured so far; the end that fills no frame counts as one."""
        powers = list(self._powers)
        if len(self._rest):
            powers.append(np.asarray([(self._rest.astype(np.float64) ** 2).mean()]))
        level = _decibels(np.concatenate(powers)) if powers else np.asarray([FLOOR])
        first, last = _sound(level)
        seconds, step = self._samples / self.rate, self.frame / self.rate
        clipped = self._tops / max(self._samples, 1) if self._peak >= LOUD else 0.0
        return Levels(
            peak=float(_decibels(np.asarray([self._peak**2]))[0]),
            loudest=float(level.max()),
            speech=float(np.percentile(level, 95)),
            noise=float(np.percentile(level, 10)),
            leading=min(first * step, seconds),
            trailing=max(seconds - last * step, 0.0),
            clipped=clipped,
            bandwidth=self._bandwidth(),
        )

    def _bandwidth(self) -> float:
        if self._spectrum is None or not self._spectrum.sum():
            return 0.0
        above = self._spectrum[::-1].cumsum()[::-1]
        used = int((above > MOST_ENERGY * above[0]).sum())
        return float(used * self.rate / self.frame)


def levels_of(samples: Int16[np.ndarray, " samples"], sample_rate: int) -> Levels:
    """Return the levels of 16-bit audio."""
    meter = LevelMeter(sample_rate)
    meter.add(samples.astype(np.float32) / np.float32(32768))
    return meter.levels()


def _decibels(power: Float64[np.ndarray, " frames"]) -> Float64[np.ndarray, " frames"]:
    found: np.ndarray = 10 * np.log10(np.maximum(power, 10 ** (FLOOR / 10)))
    return found


def _sound(level: Float64[np.ndarray, " frames"]) -> tuple[int, int]:
    """Return the first frame of sound and the frame after the last; all is before for silence."""
    loudest, noise = level.max(), np.percentile(level, 10)
    if loudest <= SILENCE:
        return len(level), len(level)
    least = max(loudest - NEAR, min(noise + ABOVE_NOISE, loudest - BELOW_SPEECH), SILENCE)
    active = level >= least
    steady = min(STEADY, len(level))
    runs = np.convolve(active, np.ones(steady, np.int64), "valid") == steady
    if not runs.any():
        return 0, len(level)
    where = np.flatnonzero(runs)
    return int(where[0]), int(where[-1]) + steady


def _in_runs(flags: np.ndarray) -> int:
    """Return how many of the true values stand in runs of `FLAT` or more."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.view(np.int8), [0]])))
    lengths = edges[1::2] - edges[::2]
    return int(lengths[lengths >= FLAT].sum())
