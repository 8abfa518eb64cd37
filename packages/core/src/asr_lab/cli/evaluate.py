"""`asr-lab evaluate`: the error rate of a checkpoint on a data set."""

from collections.abc import Sequence

from asr_lab.cli.arguments import wants_help
from asr_lab.cli.checks import check_names
from asr_lab.cli.flags import flags_of
from asr_lab.cli.help import FlagGroup, render_help
from asr_lab.cli.options import parse_flags
from asr_lab.evaluation.options import EvaluateOptions
from asr_lab.models.base.options import DecodingOptions
from asr_lab.plugins.loading import installed_plugins

SUMMARY = "Transcribe a data set with a checkpoint, and report error rates with their intervals."


def run(argv: Sequence[str]) -> int:
    """Run the command."""
    flags = flags_of(EvaluateOptions, skip=frozenset({"decoding"}))
    decoding_flags = flags_of(DecodingOptions)
    if wants_help(argv):
        groups = [
            FlagGroup(title="evaluation", flags=flags),
            FlagGroup(title="decoding", flags=decoding_flags),
        ]
        print(render_help("evaluate", SUMMARY, groups))
        return 0
    options = parse_evaluate(argv)
    from asr_lab.evaluation.run import evaluate
    from asr_lab.training.distributed import process_group

    with process_group(options.device) as group:
        return evaluate(options, group)


def parse_evaluate(argv: Sequence[str]) -> EvaluateOptions:
    """Return the options that `argv` describes.

    Raises UserError or CombinedUserError, before anything is read.
    """
    flags = flags_of(EvaluateOptions, skip=frozenset({"decoding"}))
    parsed = parse_flags(argv, [*flags, *flags_of(DecodingOptions)])
    decoding = parsed.build(DecodingOptions)
    check_names(parsed, installed_plugins().registry)
    parsed.check()
    options = parsed.build(EvaluateOptions, more={"decoding": decoding})
    parsed.check()
    assert options is not None
    return options
