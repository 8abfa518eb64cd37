"""GigaSpeech as it is distributed: GigaSpeech.json and the recordings it names."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from asr_lab.data.json_stream import members
from asr_lab.data.reading import given_folder, number
from asr_lab.data.spoken_text import gigaspeech as words
from asr_lab.data.utterance import AudioSource, Utterance
from asr_lab.utils.errors import UserError

ALIASES = {"train": "xl"}


def read(location: Path | None, config: str, split: str) -> Iterator[Utterance]:
    """Read a subset (Chen et al. 2021, arXiv 2106.06909) in the order of the list.

    The location holds GigaSpeech.json and the folder audio. Segments are parts of recordings.
    The list of more than a gigabyte is read a recording at a time. What is not speech is left out,
    and tags become punctuation; speakers are not known. Raises UserError for what is not there, and
    for a list that is none.
    """
    root = given_folder(location, "gigaspeech")
    path = root / "GigaSpeech.json"
    if not path.exists():
        raise UserError(f"gigaspeech needs GigaSpeech.json in {root}; download it first")
    wanted = "{" + ALIASES.get(split, split).upper() + "}"
    for recording in _objects(members(path, "audios")):
        audio = str(root / str(recording.get("path")))
        for segment in _objects(recording.get("segments")):
            if wanted not in _subsets(segment, recording):
                continue
            where = f"{path}: segment {segment.get('sid')!r}"
            if (text := words(_text(segment, where))) is not None:
                yield _utterance(segment, audio, text, where)


def _objects(items: object) -> Iterator[Mapping[str, object]]:
    """Yield what is an object; of what is no list, nothing."""
    if isinstance(items, Iterator | list):
        yield from (item for item in items if isinstance(item, dict))


def _subsets(segment: Mapping[str, object], recording: Mapping[str, object]) -> list[str]:
    found = segment.get("subsets", recording.get("subsets"))
    return [str(each) for each in found] if isinstance(found, list) else []


def _text(segment: Mapping[str, object], where: str) -> str:
    text = segment.get("text_tn")
    if not isinstance(text, str):
        raise UserError(f"{where} has no 'text_tn'; download the list again")
    return text


def _utterance(segment: Mapping[str, object], audio: str, text: str, where: str) -> Utterance:
    start = number(segment.get("begin_time"), "begin_time", where)
    length = round(number(segment.get("end_time"), "end_time", where) - start, 6)
    if length <= 0:
        raise UserError(f"{where} ends before it starts; download the list again")
    return Utterance(
        id=str(segment.get("sid")),
        audio=AudioSource(path=audio, start=start, duration=length),
        text=text,
        duration=length,
        language="en",
    )
