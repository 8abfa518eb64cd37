"""A command of the example plugin."""

from collections.abc import Sequence

from asr_lab.utils.errors import UserError


def run(argv: Sequence[str]) -> int:
    """Print the words; without words there is nothing to whistle."""
    if not argv:
        raise UserError("whistle needs words; say asr-lab whistle ab cd")
    print("♪ " + " ".join(argv))
    return 0
