"""`asr-lab score`: the error rate of saved hypotheses, by another normaliser or rule."""

from collections.abc import Sequence

from asr_lab.cli.options import parse_options
from asr_lab.evaluation.options import ScoreOptions

SUMMARY = "Count the errors of saved hypotheses again, with another normaliser or rule; no model."


def run(argv: Sequence[str]) -> int:
    """Run the command."""
    options = parse_options(ScoreOptions, argv, "score", SUMMARY)
    if options is None:
        return 0
    from asr_lab.evaluation.scoring import score

    return score(options)
