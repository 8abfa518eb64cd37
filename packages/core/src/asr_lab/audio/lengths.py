"""How many samples there are after a change of rate or speed; torch-free, so that plans know."""

from fractions import Fraction

from asr_lab.utils.errors import UserError


def resampled_length(samples: int, source_rate: int, target_rate: int) -> int:
    """Return the number of samples after resampling: the nearest whole number, half upwards."""
    return (2 * samples * target_rate + source_rate) // (2 * source_rate)


def speed_ratio(speed: float) -> Fraction:
    """Return the speed as the nearest fraction with a denominator of at most 100.

    Plan and device so agree on lengths, though one counts in double and one in single precision.
    Raises UserError for a speed outside 0.1 to 10.
    """
    if not 0.1 <= speed <= 10:
        raise UserError(f"speeds must be from 0.1 to 10; got {speed}")
    return Fraction(speed).limit_denominator(100)


def sped_up_length(samples: int, speed: float) -> int:
    """Return the number of samples after `change_speed`: the nearest to samples / speed.

    A half rounds upwards, and audio that is not empty keeps at least one sample.
    """
    ratio = speed_ratio(speed)
    length = resampled_length(samples, ratio.numerator, ratio.denominator)
    return max(length, min(samples, 1))
