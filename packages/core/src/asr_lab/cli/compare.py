"""`asr-lab compare`: several results side by side, and which of them differ."""

from collections.abc import Sequence

from asr_lab.cli.options import parse_options
from asr_lab.evaluation.comparison.options import CompareOptions

SUMMARY = "Put results side by side: intervals, which systems differ, slices, and a page to hear."


def run(argv: Sequence[str]) -> int:
    """Run the command."""
    options = parse_options(CompareOptions, argv, "compare", SUMMARY)
    if options is None:
        return 0
    from asr_lab.evaluation.comparison.command import run_comparison

    return run_comparison(options)
