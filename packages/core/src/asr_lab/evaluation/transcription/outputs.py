"""Where transcripts go: standard output, one file, or a file for each recording."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from asr_lab.evaluation.options import TranscribeOptions
from asr_lab.evaluation.transcription.formats import SINGLE
from asr_lab.evaluation.transcription.inputs import Input
from asr_lab.utils.errors import UserError
from asr_lab.utils.files import write_atomically, writing


@dataclass
class Outputs:
    """Takes transcripts as they come; under the policy `fail` nothing is written before the end."""

    targets: Sequence[Path]
    """A file for each input; none for standard output; one for all together."""
    folder: bool
    """True if each input has a file of its own in a folder."""
    hold: bool
    """Keep everything back until the end."""
    held: list[tuple[int, str]] = field(default_factory=list)

    def add(self, place: int, content: str) -> None:
        """Take the transcript of the input at `place`."""
        # A file name that is not UTF-8 has lone halves of surrogate pairs; JSON reads their escape.
        content = content.encode("utf-8", "backslashreplace").decode("utf-8")
        if self.hold or (self.targets and not self.folder):
            self.held.append((place, content))
        else:
            self._write(place, content)

    def finish(self) -> None:
        """Write what was kept back; a single file is written whole or not at all."""
        if self.targets and not self.folder:
            _write_file(self.targets[0], "".join(content for _, content in self.held))
            return
        for place, content in self.held:
            self._write(place, content)

    def _write(self, place: int, content: str) -> None:
        if self.folder:
            _write_file(self.targets[place], content)
        else:
            sys.stdout.write(content)
            sys.stdout.flush()


def _write_file(path: Path, content: str) -> None:
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content)


def plan_outputs(options: TranscribeOptions, inputs: Sequence[Input]) -> Outputs:
    """Return where the transcripts go.

    Raises UserError for files that exist, unless they may be overwritten, for recordings, which
    never may, for what stands below a file, for two inputs that would share one, and for several
    recordings in a format that holds one.
    """
    hold = options.on_bad_utterance == "fail"
    folder = _is_folder(options.output)
    if options.format in SINGLE and len(inputs) > 1 and not folder:
        raise UserError(
            f"{options.format} subtitles are of one recording, and there are {len(inputs):,};"
            " name a folder with --output"
        )
    if not options.output:
        return Outputs((), False, hold)
    targets = [Path(options.output)]
    if folder:
        ending = f".{options.format}"
        names = [one.name.parent / (one.name.name + ending) for one in inputs]
        targets = [Path(options.output) / name for name in names]
    _check_targets(targets, inputs, options.overwrite)
    return Outputs(targets, folder, hold)


def _is_folder(output: str) -> bool:
    """Return True if `output` is a folder or is written like one."""
    path = Path(output)
    return bool(output) and (output.endswith("/") or path.is_dir() or not path.suffix)


def _check_targets(targets: Sequence[Path], inputs: Sequence[Input], overwrite: bool) -> None:
    """Raise UserError for a file that would be written twice, or that is there."""
    owner: dict[Path, str] = {}
    for target, one in zip(targets, inputs, strict=False):
        if target in owner:
            raise UserError(
                f"{owner[target]} and {one.path} would both be written to {target};"
                " transcribe them into different folders"
            )
        owner[target] = one.path
    for target in targets:
        _check_place(target)
    taken = [path for path in targets if path.exists()]
    recordings = {Path(one.path).resolve() for one in inputs} if taken else set()
    if lost := [path for path in taken if path.resolve() in recordings]:
        raise UserError(f"{lost[0]} is a recording; choose another --output")
    if taken and not (overwrite and taken[0].is_file()):
        more = f" (and {len(taken) - 1:,} more)" if len(taken) > 1 else ""
        raise UserError(f"{taken[0]}{more} exists; choose another --output or say --overwrite")


def _check_place(target: Path) -> None:
    """Raise UserError where a part of the path is a file, so that no folder can be made."""
    there = next(parent for parent in target.absolute().parents if parent.exists())
    if not there.is_dir():
        raise UserError(f"cannot write below {there}, which is a file; choose another --output")
