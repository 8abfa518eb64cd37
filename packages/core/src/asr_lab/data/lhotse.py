"""Cuts of lhotse: JSON Lines are read directly, other forms through lhotse itself."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

from asr_lab.data.reading import beside_or_here, given, json_objects, number
from asr_lab.data.utterance import AudioSource, Utterance
from asr_lab.utils.errors import UserError

Object: TypeAlias = Mapping[str, object]
DIRECT = (".jsonl", ".jsonl.gz")


def read(location: Path | None, config: str, split: str) -> Iterator[Utterance]:
    """Yield an utterance for every supervision of every cut.

    The id is the cut's where it has one supervision, else the supervision's. Relative paths start
    from the manifest's folder if the file is there, else from the working folder. Raises UserError
    for a cut that is not a plain part of a recording with one channel in a file, and, for other
    forms than JSON Lines, where lhotse is not installed.
    """
    path = given(location, "lhotse")
    for where, cut in _direct(path) if path.name.endswith(DIRECT) else _through_lhotse(path):
        audio = _audio(cut, where, path.parent)
        supervisions = _objects(cut.get("supervisions"))
        if not supervisions:
            raise UserError(f"{where} has no supervision, so no text; leave it out")
        for supervision in supervisions:
            if len(supervisions) == 1:
                yield _utterance(cut, supervision, audio, where)
            else:
                part = _part(supervision, audio, where)
                yield _utterance(supervision, supervision, part, where)


def _direct(path: Path) -> Iterator[tuple[str, Object]]:
    for line, cut in json_objects(path, "cut"):
        yield f"{path}:{line}", cut


def _through_lhotse(path: Path) -> Iterator[tuple[str, Object]]:
    try:
        from lhotse import CutSet
    except ImportError as error:
        raise UserError(
            f"reading {path.name} needs lhotse ({error}); pip install 'asr-lab-core[lhotse]', "
            "or write the cuts as .jsonl.gz, which needs nothing"
        ) from error
    for cut in CutSet.from_file(path):
        yield f"{path}: cut {cut.id!r}", cut.to_dict()


def _audio(cut: Object, where: str, folder: Path) -> AudioSource:
    """Return where the audio of a cut is."""
    recording, kind = cut.get("recording"), cut.get("type", "MonoCut")
    if kind != "MonoCut" or not isinstance(recording, Mapping):
        found = f"{kind} without recording" if kind == "MonoCut" else kind
        raise UserError(f"{where} is a {found}; only MonoCut with a recording can be read")
    sources = _objects(recording.get("sources"))
    if len(sources) != 1 or sources[0].get("type") != "file" or _channels(sources[0]) != 1:
        raise UserError(f"{where} is not from one file with one channel; save its audio first")
    if recording.get("transforms"):
        raise UserError(f"{where} has transforms of the recording; save its audio first")
    return AudioSource(
        path=beside_or_here(folder, str(sources[0].get("source"))),
        start=number(cut.get("start", 0), "start", where),
        duration=number(cut.get("duration"), "duration", where),
    )


def _channels(source: Object) -> int:
    channels = source.get("channels", [0])
    return len(channels) if isinstance(channels, list) else 0


def _objects(value: object) -> list[Object]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, Iterable) else []


def _part(supervision: Object, audio: AudioSource, where: str) -> AudioSource:
    """Return the part of a cut that a supervision is of; its start counts from the cut's."""
    start = number(supervision.get("start", 0), "start of a supervision", where)
    duration = number(supervision.get("duration"), "duration of a supervision", where)
    return AudioSource(path=audio.path, start=audio.start + start, duration=duration)


def _utterance(owner: Object, supervision: Object, audio: AudioSource, where: str) -> Utterance:
    text = supervision.get("text")
    if not isinstance(text, str):
        raise UserError(f"{where} has a supervision without text; leave it out")
    return Utterance(
        id=str(owner.get("id")),
        audio=audio,
        text=text,
        duration=audio.duration or 0.0,
        language=str(supervision.get("language") or ""),
        speaker=str(supervision.get("speaker") or ""),
    )
