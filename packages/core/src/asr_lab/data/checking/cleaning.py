"""Write a manifest without the bad utterances of a data set; the data stay as they are."""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from asr_lab.data.manifests import AUDIO
from asr_lab.data.names import ResolvedDataset
from asr_lab.data.reading import json_objects
from asr_lab.data.utterance import Utterance
from asr_lab.utils.errors import UserError
from asr_lab.utils.files import write_atomically

JSON_LINES = (".jsonl", ".json")


def check_target(target: Path, utterances: Sequence[Utterance]) -> None:
    """Raise UserError if no clean manifest can be written there; nothing is overwritten, ever."""
    if target.suffix != ".jsonl":
        raise UserError(f"--fix writes JSON Lines; {target} must end with .jsonl")
    if target.exists() or target.is_symlink():
        raise UserError(f"{target} exists, and --fix overwrites nothing; choose another name")
    if not target.parent.is_dir():
        raise UserError(f"no folder {target.parent} for {target.name}; make it first")
    if shard := next((one.audio.path for one in utterances if one.audio.size), ""):
        raise UserError(f"--fix cannot write a manifest of audio inside a shard ({shard})")


def write_clean(
    target: Path,
    resolved: ResolvedDataset,
    utterances: Sequence[Utterance],
    bad: frozenset[int],
) -> int:
    """Write the utterances that are not bad, in their order; return how many.

    Lines of a JSON Lines manifest keep all their keys. Every line has the id by which the
    utterance was known, and paths that start from the new manifest where the audio is below it.
    Raises UserError as `check_target`, and CannotWriteError.
    """
    check_target(target, utterances)
    rows = _rows(resolved, utterances)
    folder = target.parent.resolve()
    kept = []
    for position, (row, utterance) in enumerate(zip(rows, utterances, strict=True)):
        if position in bad:
            continue
        key = next((name for name in AUDIO if row.get(name)), AUDIO[0])
        path = Path(utterance.audio.path).resolve()
        inside = path.is_relative_to(folder)
        row = {**row, key: os.path.relpath(path, folder) if inside else str(path)}
        kept.append(json.dumps({"id": utterance.id, **row}, ensure_ascii=False))
    content = "".join(f"{line}\n" for line in kept)
    write_atomically(target, content.encode("utf-8", "surrogateescape"))
    return len(kept)


def _rows(
    resolved: ResolvedDataset, utterances: Sequence[Utterance]
) -> Iterator[dict[str, object]]:
    """Yield the keys of each utterance: those that its manifest has, else those we know."""
    path = resolved.location
    packed = path is not None and path.name.removesuffix(".gz").endswith(JSON_LINES)
    if resolved.plugin == "core" and resolved.spec.name == "manifest" and path and packed:
        yield from (row for _, row in json_objects(path, "utterance"))
        return
    for one in utterances:
        part = {"offset": one.audio.start} if one.audio.duration is not None else {}
        labels = {"lang": one.language, "speaker": one.speaker}
        known = {name: value for name, value in labels.items() if value}
        yield {"audio_filepath": one.audio.path, "text": one.text, "duration": one.duration} | (
            part | known
        )
