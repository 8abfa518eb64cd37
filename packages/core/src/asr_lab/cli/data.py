"""`asr-lab data check`: what is wrong with a data set."""

from collections.abc import Sequence

from asr_lab.cli.options import parse_options
from asr_lab.data.checking.options import DataCheckOptions
from asr_lab.utils.errors import UserError, unknown

SUMMARY = """Decode a data set and tell what is wrong with it: damaged, silent or clipped audio,
texts that do not fit, duplicates, leaks. Exit status 0: clean; 1: not clean; 2: not checked."""
ACTIONS = ("check",)


def run(argv: Sequence[str]) -> int:
    """Run the command; 1 if the data set is not clean."""
    action, *rest = argv or [""]
    if action in ("-h", "--help"):
        action, rest = "check", ["--help"]
    if not action or action.startswith("-"):
        raise UserError("say what to do with the data: asr-lab data check DATASET")
    if action not in ACTIONS:
        raise unknown("action of data", action, ACTIONS)
    options = parse_options(DataCheckOptions, rest, "data check", SUMMARY)
    if options is None:
        return 0
    from asr_lab.cli.data_check import check

    return check(options)
