"""List where the normaliser `openasr` and the library whisper-normalizer make different texts.

    python packages/core/benchmarks/normalizers.py docs/results/normalizers.md

Sentences are those of the golden file of the tests; each difference is put down to the first rule
of the leaderboard that explains it.
"""

import argparse
import json
import lzma
import re
from collections.abc import Callable
from pathlib import Path

from asr_lab.evaluation.normalization.tables import COMPOUNDS, FILLERS, variants
from asr_lab.evaluation.normalizers import normalizer

GOLDEN = Path(__file__).parents[1] / "tests" / "fixtures" / "openasr.json.xz"
WHISPERS_FILLERS = ("hmm", "mm", "mhm", "mmm", "uh", "um")
OTHER = "spellings; and letters that stand alone once symbols are gone"
SHOWN = 3
"""Examples of each cause."""


def _has(pattern: str) -> Callable[[str], bool]:
    return lambda text: re.search(pattern, text.lower()) is not None


def _words(words: list[str]) -> Callable[[str], bool]:
    return _has(rf"\b({'|'.join(map(re.escape, words))})\b")


CAUSES: dict[str, Callable[[str], bool]] = {
    "more fillers are dropped": _words([one for one in FILLERS if one not in WHISPERS_FILLERS]),
    "'s is written out behind pronouns only": _has(r"'s\b"),
    "compounds are joined": _has(
        "|".join("\\b" + pair.replace(" ", "\\W+") + "\\b" for pair in COMPOUNDS)
    ),
    "one spelling of names": _words(list(variants("names"))),
    "letters and digits that stand alone are joined": _has(r"\b\w\b\W+\w\b"),
}
"""What the leaderboard does and Whisper does not, and whether a sentence gives it a reason to."""


def main() -> None:
    """Compare, print and store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    ours, theirs = normalizer("openasr"), normalizer("whisper-en")
    pairs = json.loads(lzma.decompress(GOLDEN.read_bytes()))["pairs"]
    found: dict[str, list[tuple[str, str, str]]] = {cause: [] for cause in (*CAUSES, OTHER)}
    for text, _ in pairs:
        one, two = ours.apply(text), theirs.apply(text)
        if one != two:
            cause = next((name for name, has in CAUSES.items() if has(text)), OTHER)
            found[cause].append((text, one, two))
    different = sum(map(len, found.values()))
    print(f"{different:,} of {len(pairs):,} sentences differ")
    arguments.output.write_text(page(found, len(pairs), ours.id, theirs.definition), "utf-8")


def page(
    found: dict[str, list[tuple[str, str, str]]], sentences: int, ours: str, theirs: str
) -> str:
    """Return the table of causes, and a few examples of each."""
    different = sum(map(len, found.values()))
    lines = [
        "# The leaderboard's English and Whisper's",
        "",
        f"`{ours}` is equal to the rules of open_asr_leaderboard on all of {sentences:,} sentences",
        "that were drawn to be hard. The library's rules",
        f"({theirs.split(', files')[0]}) make another text of {different:,} of them.",
        "Made by `python packages/core/benchmarks/normalizers.py docs/results/normalizers.md`;",
        "a sentence counts for the first cause that it gives a reason for.",
        "",
        "| what the leaderboard does and Whisper does not | sentences |",
        "|---|---|",
        *(f"| {cause} | {len(rows):,} |" for cause, rows in found.items()),
        "",
        "| sentence | `openasr` | `whisper-en` |",
        "|---|---|---|",
    ]
    for rows in found.values():
        plain = [row for row in rows if re.fullmatch(r"[\w' .,-]+", row[0]) and row[0].isascii()]
        shortest = sorted(plain or rows, key=lambda row: (len(row[0]), row))
        lines += [f"| {' | '.join(map(_cell, row))} |" for row in shortest[:SHOWN]]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    """Return a text as code that no table takes apart."""
    return f"`{text.replace('|', '/').replace('`', '´')}`" if text.strip() else "nothing"


if __name__ == "__main__":
    main()
