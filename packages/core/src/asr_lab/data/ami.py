"""AMI as it is distributed: annotations in XML, and a folder of recordings per meeting."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from asr_lab.data.reading import given_folder, number
from asr_lab.data.utterance import AudioSource, Utterance
from asr_lab.utils.errors import UserError

RECORDINGS = {"ihm": "Headset-{channel}", "ihm-mix": "Mix-Headset", "sdm": "Array1-01"}
"""Name of a recording by microphone: each speaker's own, all of those in one, or one far away."""
PARTITION = {
    "dev": "ES2011 IS1008 TS3004 IB4001 IB4002 IB4003 IB4004 IB4010 IB4011".split(),
    "test": "ES2004 IS1009 TS3003 EN2002".split(),
}
"""Sessions of the full-corpus partition for recognition; all others are for training."""
SESSION = 6
"""Characters of a meeting's name that name its session."""
ARCHIVE = "ami_public_manual_1.6.2"
ID = "{http://nite.sourceforge.net/}id"
WORD = re.compile(r"id\(([^()]*?)(\d+)\)")
"""A word that a segment begins or ends with: what the names of words begin with, and a number."""

Words = Mapping[tuple[str, int], str]


@dataclass(frozen=True, kw_only=True)
class Speaker:
    """Somebody at a meeting."""

    name: str
    channel: str
    """Number of the headset."""


def read(location: Path | None, config: str, split: str) -> Iterator[Utterance]:
    """Read a split by one microphone (Carletta et al. 2005), meeting after meeting.

    The location holds words, segments and corpusResources, or a folder that does, and amicorpus.
    An utterance is a segment of the annotation that has words; `T_V_` becomes `T V`. Raises
    UserError for what is not there, and XML that does not fit.
    """
    root = given_folder(location, "ami")
    below = ("", "annotations", ARCHIVE)
    notes = next((root / each for each in below if _meetings(root / each).exists()), None)
    if notes is None:
        raise UserError(
            f"ami needs corpusResources/meetings.xml in {root}; unpack {ARCHIVE}.zip there"
        )
    audio = next((root / each for each in ("amicorpus", "wav_db") if (root / each).is_dir()), root)
    for meeting, speakers in _speakers(_meetings(notes)).items():
        if _split(meeting) != split:
            continue
        paths = sorted((notes / "segments").glob(f"{meeting}.*.segments.xml"))
        if not paths and split != "train":  # not all meetings to train on need be annotated
            raise UserError(f"{notes / 'segments'} lacks {meeting}; unpack all of {ARCHIVE}.zip")
        for path in paths:
            agent = path.name.split(".")[1]
            if agent in speakers:  # the others have no channel
                name = RECORDINGS[config].format(channel=speakers[agent].channel)
                file = str(audio / meeting / "audio" / f"{meeting}.{name}.wav")
                yield from _segments(path, f"{meeting}-{agent}", file, speakers[agent].name)


def _meetings(notes: Path) -> Path:
    return notes / "corpusResources" / "meetings.xml"


def _split(meeting: str) -> str:
    session = meeting[:SESSION]
    return next((split for split, those in PARTITION.items() if session in those), "train")


def _parsed(path: Path) -> ElementTree.Element:
    try:
        return ElementTree.parse(path).getroot()
    except FileNotFoundError as error:
        raise UserError(f"{path} is not there; unpack all of {ARCHIVE}.zip") from error
    except ElementTree.ParseError as error:
        raise UserError(f"{path} is not XML ({error}); unpack {ARCHIVE}.zip again") from error


def _speakers(path: Path) -> dict[str, dict[str, Speaker]]:
    """Return who is at each meeting, by the letter that names them there."""
    return {
        _attribute(meeting, "observation", path): {
            _attribute(each, "nxt_agent", path): Speaker(
                name=each.get("global_name", ""), channel=_attribute(each, "channel", path)
            )
            for each in meeting.iter("speaker")
        }
        for meeting in _parsed(path).iter("meeting")
    }


def _attribute(element: ElementTree.Element, name: str, path: Path) -> str:
    if (value := element.get(name)) is None:
        found = ", ".join(element.keys()) or "none"
        raise UserError(f"{path}: <{element.tag}> has no attribute {name}; it has {found}")
    return value


def _segments(path: Path, prefix: str, audio: str, speaker: str) -> Iterator[Utterance]:
    words = _words(path.parent.parent / "words" / path.name.replace(".segments.", ".words."))
    for position, segment in enumerate(_parsed(path).iter("segment")):
        where = f"{path}: segment {segment.get(ID, position)}"
        start = number(_attribute(segment, "transcriber_start", path), "transcriber_start", where)
        end = number(_attribute(segment, "transcriber_end", path), "transcriber_end", where)
        text = _text(segment, words)
        if text and end > start:  # a few of the corpus end before they start
            length = round(end - start, 6)
            yield Utterance(
                id=f"{prefix}-{position:04d}",
                audio=AudioSource(path=audio, start=start, duration=length),
                text=text,
                duration=length,
                language="en",
                speaker=speaker,
            )


def _words(path: Path) -> Words:
    """Return the words of a speaker by their ids, punctuation with a blank before it removed."""
    found = {}
    for word in _parsed(path).iter("w"):
        name = word.get(ID, "")
        stem = name.rstrip("0123456789")
        if name != stem and word.text:
            text = word.text.replace("_", " ").strip()
            found[stem, int(name[len(stem) :])] = text if word.get("punc") else f" {text}"
    return found


def _text(segment: ElementTree.Element, words: Words) -> str:
    """Return what is said from the first to the last word that a segment names."""
    spoken = []
    for child in segment:
        ends = WORD.findall(child.get("href", ""))
        if ends:
            (stem, first), (_, last) = ends[0], ends[-1]
            span = range(int(first), int(last) + 1)
            spoken += [words[stem, each] for each in span if (stem, each) in words]
    text = "".join(spoken).strip()
    return text if any(map(str.isalnum, text)) else ""
