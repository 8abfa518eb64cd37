"""`asr-lab transcribe` behind its flags: what goes in, what comes out where, and what is told."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from asr_lab.evaluation.options import TranscribeOptions
from asr_lab.evaluation.recogniser import load_checkpoint
from asr_lab.evaluation.transcription.formats import WRITERS, table
from asr_lab.evaluation.transcription.inputs import Input, find_inputs
from asr_lab.evaluation.transcription.outputs import Outputs, plan_outputs
from asr_lab.evaluation.transcription.streams import StreamTranscriber
from asr_lab.evaluation.transcription.transcriber import Transcriber
from asr_lab.evaluation.transcription.transcripts import Transcript
from asr_lab.utils.errors import UserError, tell

BAD_FILES = 1
"""Exit status where some files could not be used."""


def transcribe(options: TranscribeOptions) -> int:
    """Transcribe, write or print, name bad files; return the exit status.

    Raises UserError, before any work, for what makes all of it useless, and for the first bad
    file under the policy `fail`.
    """
    inputs, problems = find_inputs(options.files)
    outputs = plan_outputs(options, inputs)
    if problems and options.on_bad_utterance == "fail":
        raise UserError(problems[0])
    kind = StreamTranscriber if options.stream else Transcriber
    transcriber = kind.load(
        load_checkpoint(Path(options.checkpoint)),
        options.decoding,
        options.precision,
        options.device,
        chunk_seconds=options.chunk_seconds,
        batch_seconds=options.batch_seconds,
        context_seconds=options.context_seconds,
    )
    _check_times(options, transcriber)
    if isinstance(transcriber, StreamTranscriber):
        tell(f"look-ahead {transcriber.look_ahead_ms:g} ms")
    several = len(inputs) > 1 or len(options.files) > 1 or Path(options.files[0]).is_dir()
    write = WRITERS[options.format]
    if options.format == "txt" and several and not outputs.folder:
        write = table
    for problem in problems:
        tell(problem)
    bad = len(problems) + _work(options, transcriber, inputs, outputs, write)
    return BAD_FILES if bad else 0


def _check_times(options: TranscribeOptions, transcriber: Transcriber) -> None:
    """Raise UserError for a format that needs times which the decoder does not give."""
    if options.format != "ctm" or transcriber.knows_times:
        return
    name, _ = transcriber.recogniser.model.decoder(options.decoding)
    others = ", ".join(sorted(set(WRITERS) - {"ctm"}))
    raise UserError(
        f"--format ctm needs the time of each word, which the decoder {name!r} does not give;"
        f" use one of {others}, or another --decoder"
    )


def _work(
    options: TranscribeOptions,
    transcriber: Transcriber,
    inputs: Sequence[Input],
    outputs: Outputs,
    write: Callable[[Transcript], str],
) -> int:
    """Transcribe and write; return the number of bad files."""
    bad = 0
    with _bar() as bar:
        found = transcriber.transcribe([one.path for one in inputs], bar.moved)
        for place, transcript in enumerate(found):
            if not transcript.problem:
                with bar.aside(sys.stdout):
                    outputs.add(place, write(transcript))
                continue
            if options.on_bad_utterance == "fail":
                raise UserError(transcript.problem)
            bad += 1
            with bar.aside(sys.stderr):
                tell(transcript.problem)
    outputs.finish()
    return bad


class _Bar:
    """A progress bar on standard error, if that is a terminal."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self.progress = Progress(
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.description}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self.task = self.progress.add_task("", total=None)

    def moved(self, done: float, total: float) -> None:
        """Show how many seconds of audio are done."""
        minutes = f"{done / 60:,.1f} of {total / 60:,.1f} min of audio"
        self.progress.update(self.task, completed=done, total=total, description=minutes)

    @contextmanager
    def aside(self, stream: object) -> Iterator[None]:
        """Take the bar away while something is printed on the same terminal."""
        shared = not self.progress.disable and getattr(stream, "isatty", lambda: False)()
        if shared:
            self.progress.stop()
        yield
        if shared:
            sys.stdout.flush()
            self.progress.start()


@contextmanager
def _bar() -> Iterator[_Bar]:
    bar = _Bar()
    with bar.progress:
        yield bar
