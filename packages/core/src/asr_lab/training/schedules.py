"""Learning rates as pure functions of the step, so that there is nothing to save or to restore."""

import math

from asr_lab.training.config import TrainConfig


def warmup_steps(config: TrainConfig, steps: int) -> int:
    """Return the number of warm-up steps in a run of `steps`."""
    wanted = config.warmup * steps if config.warmup < 1 else config.warmup
    return min(math.ceil(wanted), steps)


def learning_rate(config: TrainConfig, step: int, steps: int) -> float:
    """Return the learning rate of `step` (counted from 0) in a run of `steps`.

    It rises linearly over the warm-up and then falls to `final_lr` times the peak: as half a cosine
    (SGDR, arXiv 1608.03983, without restarts), on a line, on a line over the last fifth after a
    plateau (`wsd`, arXiv 2404.06395), as the inverse square root of the step without a floor
    (`noam`, arXiv 1706.03762), or not at all.
    """
    warmup = warmup_steps(config, steps)
    if step < warmup:
        return config.lr * (step + 1) / warmup
    if config.schedule == "constant":
        return config.lr
    if config.schedule == "noam":
        return config.lr * math.sqrt(max(warmup, 1) / (step + 1))
    left = 1 - (step - warmup) / max(steps - warmup, 1)
    shape = {
        "cosine": 0.5 * (1 - math.cos(math.pi * left)),
        "linear": left,
        "wsd": min(1.0, left / 0.2),
    }[config.schedule]
    return config.lr * (config.final_lr + (1 - config.final_lr) * max(shape, 0.0))
