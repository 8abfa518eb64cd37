"""Measure what the data check and the failure finders find, and what they take for bad.

    asr-lab evaluate --checkpoint outputs/best.pt --dataset spoken/en --output heard
    python packages/core/benchmarks/finders.py docs/results/finders \
        --manifests speech/*.jsonl --hypotheses heard/hypotheses.jsonl

Manifests of recorded speech show false findings; what is planted in `spoken/en/test` shows missed
ones. Of the hypotheses, made by a real model, references are spoilt to see whether that is told.
"""

import argparse
import json
import os
import platform
import random
import shlex
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile

from asr_lab.audio.files import read_audio
from asr_lab.data import manifests
from asr_lab.data.checking.check import check_data
from asr_lab.data.checking.facts import text_key
from asr_lab.data.spoken import read
from asr_lab.data.utterance import AudioSource, Utterance
from asr_lab.evaluation.failures import find_failures
from asr_lab.evaluation.failures.languages import can_identify, identifier, sure_language
from asr_lab.evaluation.failures.loops import letter_loop, word_loop
from asr_lab.evaluation.failures.scripts import mixed_words
from asr_lab.evaluation.hypothesis_files import SavedHypothesis, read_hypotheses
from asr_lab.evaluation.normalizers import BASIC
from asr_lab.evaluation.scoring import rescore

RATE, EACH = 16000, 20
Samples = np.ndarray


def real_speech(paths: Sequence[Path], workers: int) -> dict[str, object]:
    """Return what is found in recorded speech that nobody has spoilt."""
    utterances = [
        replace(one, id=f"{number}-{one.id}")
        for number, path in enumerate(paths)
        for one in manifests.read(path, "", "all")
    ]
    report = check_data("recorded speech", utterances, workers=workers)
    texts = sorted({text_key(one.text) for one in utterances})
    wrong = 0
    if can_identify():
        identify = identifier()
        named = {text_key(one.text): one.language for one in utterances}
        heard = ((sure_language(text, identify), named[text]) for text in texts)
        wrong = sum(bool(told) and told != language[:2] for told, language in heard)
    return {
        "utterances": len(utterances),
        "hours": report.hours,
        "languages": len({one.language for one in utterances}),
        "found": report.counts(),
        "distinct_texts": len(texts),
        "texts_with_loops": sum(
            word_loop(text.split()) is not None or letter_loop(text) is not None for text in texts
        ),
        "texts_with_mixed_words": sum(bool(mixed_words(text)) for text in texts),
        "texts_of_another_language": wrong,
    }


def clip(samples: Samples) -> Samples:
    """Turn up by the factor that cuts the loudest twentieth off."""
    factor = 32767 / max(float(np.quantile(np.abs(samples), 0.95)), 1.0)
    found: Samples = np.clip(samples * factor, -32768, 32767).astype(np.int16)
    return found


PLANTS: dict[str, Callable[[Samples], Samples]] = {
    "silent": lambda samples: (samples * 0.0005).astype(np.int16),
    "clipped": clip,
    "duration": lambda samples: samples[: len(samples) // 2],
    "pause": lambda samples: np.concatenate([np.zeros(3 * RATE, np.int16), samples]),
    "damaged": lambda samples: samples,
    "duplicate": lambda samples: samples,
    "text": lambda samples: samples,
    "rate": lambda samples: samples,
}


def planted(folder: Path, workers: int) -> list[dict[str, object]]:
    """Spoil `EACH` utterances in each way, and return how many of them are told so."""
    pool, changed = list(read(None, "en", "test")), []
    for number, (one, kind) in enumerate(
        zip(pool, [k for k in PLANTS for _ in range(EACH)], strict=False)
    ):
        samples = PLANTS[kind](read_audio(one.audio, RATE))
        path = folder / f"{number}.flac"
        soundfile.write(path, samples, RATE)
        length = len(samples) / RATE if kind == "pause" else one.duration
        text = {"text": f"{one.text}\ufffd", "rate": one.text * 6}.get(kind, one.text)
        if kind == "damaged":
            path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
        made = Utterance(
            id=f"{kind}-{number}", audio=AudioSource(path=str(path)), text=text, duration=length
        )
        changed += [replace(made, id=f"sound-{number}"), made] if kind == "duplicate" else [made]
    report = check_data("planted", [*changed, *pool[len(PLANTS) * EACH :]], workers=workers)
    told = Counter((one.id.split("-")[0], one.kind) for one in report.findings)
    others = Counter(one.kind for one in report.findings if one.id.split("-")[0] != one.kind)
    return [
        {"kind": kind, "planted": EACH, "found": told[kind, kind], "elsewhere": others[kind]}
        for kind in PLANTS
    ]


def spoil(saved: Sequence[SavedHypothesis], how: str) -> tuple[list[SavedHypothesis], set[str]]:
    """Spoil one reference in ten; return all, and the ids of the spoilt ones."""
    draw = random.Random(0)
    chosen = sorted(draw.sample(range(len(saved)), len(saved) // 10))
    texts = {place: saved[place].reference for place in chosen}
    words = [word for one in saved for word in one.reference.split()]
    for number, place in enumerate(chosen):
        own = texts[place].split()
        texts[place] = {
            "swapped": saved[chosen[number - 1]].reference,
            "other words": " ".join(draw.choice(words) for _ in own),
            "second half lost": " ".join(own[: len(own) // 2]),
            "text of two": f"{texts[place]} {saved[chosen[number - 1]].reference}",
            "empty": "",
        }[how]
    spoilt = [
        replace(one, reference=texts.get(place, one.reference)) for place, one in enumerate(saved)
    ]
    return spoilt, {saved[place].id for place in chosen}


def references(saved: Sequence[SavedHypothesis]) -> list[dict[str, object]]:
    """Return how many spoilt references are told, and how many sound ones."""
    rows: list[dict[str, object]] = []
    for how in ("swapped", "other words", "second half lost", "text of two", "empty"):
        spoilt, ids = spoil(saved, how)
        found = find_failures(rescore(spoilt, BASIC, "levenshtein", "").utterances).references
        told = {one.id for one in found}
        rows.append(
            {"spoilt": how, "planted": len(ids), "found": len(told & ids), "false": len(told - ids)}
        )
    return rows


def page(rows: dict[str, list[dict[str, object]]]) -> str:
    """Return the tables as Markdown."""
    lines = ["# What the finders find", "", "Made by `packages/core/benchmarks/finders.py`.", ""]
    for title, table in rows.items():
        head = list(table[0])
        lines += [f"## {title}", "", f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
        for row in table:
            cells = (f"{v:.3g}" if isinstance(v, float) else str(v) for v in row.values())
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    """Measure, print and store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("--manifests", type=Path, nargs="*", default=[])
    parser.add_argument("--hypotheses", type=Path)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    command = " ".join([Path(sys.argv[0]).name, shlex.join(sys.argv[1:])])
    tables: dict[str, list[dict[str, object]]] = {}
    if arguments.manifests:
        speech = real_speech(arguments.manifests, arguments.workers)
        facts = {name: value for name, value in speech.items() if name != "found"}
        tables["Recorded speech, nothing planted"] = [facts]
        found = speech["found"]
        assert isinstance(found, dict)
        tables["Found there"] = [
            {"kind": kind, "utterances": count} for kind, count in found.items()
        ]
    with tempfile.TemporaryDirectory() as folder:
        tables["Planted in spoken/en/test"] = planted(Path(folder), arguments.workers)
    if arguments.hypotheses:
        saved = read_hypotheses(arguments.hypotheses)
        sound = find_failures(rescore(saved, BASIC, "levenshtein", "").utterances)
        calibration = sound.calibration
        assert calibration is not None
        tables["A model of spoken/en, nothing planted"] = [
            {
                "utterances": len(saved),
                "failures": len(sound.failures),
                "references told": len(sound.references),
                "words right": calibration.accuracy,
                "mean confidence": calibration.confidence,
                "ECE": calibration.expected_calibration_error,
                "NCE": calibration.normalised_cross_entropy,
                "AUC": calibration.error_detection,
            }
        ]
        tables["References spoilt in one of ten utterances"] = references(saved)
    machine = {"cores": os.cpu_count(), "python": platform.python_version()}
    result = {"command": f"python packages/core/benchmarks/{command}", "machine": machine, **tables}
    text = json.dumps(result, indent=2, ensure_ascii=False)
    arguments.output.with_suffix(".json").write_text(f"{text}\n", encoding="utf-8")
    arguments.output.with_suffix(".md").write_text(page(tables), encoding="utf-8")
    print(page(tables))


if __name__ == "__main__":
    main()
