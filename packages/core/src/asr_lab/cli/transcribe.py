"""`asr-lab transcribe`: write down what is said in audio files."""

from collections.abc import Sequence

from asr_lab.cli.arguments import wants_help
from asr_lab.cli.checks import check_names
from asr_lab.cli.flags import flags_of
from asr_lab.cli.help import FlagGroup, render_help
from asr_lab.cli.options import parse_flags
from asr_lab.evaluation.options import TranscribeOptions
from asr_lab.models.base.options import DecodingOptions
from asr_lab.plugins.loading import installed_plugins

SUMMARY = "Write down what is said in audio files of any length."
NOTES = """A file that cannot be used (missing, damaged, no audio, empty) does not stop the others:
it is named on standard error, and the exit status is 1 at the end."""


def run(argv: Sequence[str]) -> int:
    """Run the command; 1 if a file could not be used."""
    flags = flags_of(TranscribeOptions, skip=frozenset({"decoding"}))
    decoding_flags = flags_of(DecodingOptions)
    if wants_help(argv):
        groups = [
            FlagGroup(title="transcription", flags=flags),
            FlagGroup(title="decoding", flags=decoding_flags),
        ]
        print(render_help("transcribe", SUMMARY, groups, NOTES))
        return 0
    parsed = parse_flags(argv, [*flags, *decoding_flags])
    decoding = parsed.build(DecodingOptions)
    check_names(parsed, installed_plugins().registry)
    parsed.check()
    options = parsed.build(TranscribeOptions, more={"decoding": decoding})
    parsed.check()
    assert options is not None
    from asr_lab.evaluation.transcription.command import transcribe

    return transcribe(options)
