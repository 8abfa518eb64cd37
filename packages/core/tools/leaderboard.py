"""The English normaliser of the Open ASR Leaderboard, and the sentences that tests compare us on.

    python packages/core/tools/leaderboard.py CHECKOUT packages/core/tests/fixtures/openasr.json.xz

runs `normalizer/normalizer.py` of a checkout of open_asr_leaderboard on sentences that are drawn
here, always the same, and stores both, so that tests need no checkout. What cannot stand in a
sentence that people say is over-sampled: numbers, currency, contractions, abbreviations, Unicode.
"""

import argparse
import hashlib
import json
import lzma
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from asr_lab.evaluation.normalization.spoken_numbers import WORDS
from asr_lab.evaluation.normalization.tables import (
    COMPOUNDS,
    CONTRACTIONS,
    ENDINGS,
    FILLERS,
    IS_BEHIND,
    TITLES,
    variants,
)

REVISION = "d1e99b25524814332d6868a5645e568670834cfb"
"""Of open_asr_leaderboard, 21 August 2026."""
EACH = 1_350
"""Sentences of each kind."""
PLAIN = (
    "the a and of to we they she he it was is were said came went house river morning letter small"
    " old never again o'clock people's dog's well-known Berlin Anna I am no yes mother-in-law"
).split()
COLOURS = "0 1 2 3 5 07 10 12 20 45 99 100 101 110 999 1000 1900 2024 1,000 12,345,678 3.14 0.5"
FIGURES = [
    *COLOURS.split(),
    *"1.50 1.00 10.10.1 1st 22nd 3rd 4th 1960s 90s 5g 3d b2b mp3 7".split(),
]
MARKS = [
    *". , ; : ! ? ... … — – - ' ’ “ ” ( ) [ ] < > / & * @ # ~ % $ ¢ £ € .5 5. 50% $5 £0.05".split()
]
Drawer = Callable[[random.Random], str]


def numbers(draw: random.Random) -> str:
    """Return words of numbers, most of them spoken."""
    words = draw.choices([*WORDS, "ninth", "half"], k=draw.randint(1, 7))
    for _ in range(draw.choice((0, 0, 1, 2))):
        extra = draw.choice([draw.choice(FIGURES), draw.choice(PLAIN), "and a half", "per cent"])
        words.insert(draw.randint(0, len(words)), extra)
    return " ".join(words)


def likely_numbers(draw: random.Random) -> str:
    """Return numbers as people say them, between other words."""
    small, ten, scale, other = (
        [name for name, word in WORDS.items() if word.kind == kind and word.plain]
        for kind in ("small", "ten", "scale", "zero")
    )
    parts: list[str] = [draw.choice(PLAIN)]
    for _ in range(draw.randint(1, 4)):
        parts += draw.choice(
            (
                [draw.choice(ten), draw.choice(small)],
                [draw.choice(small), draw.choice(scale), "and", draw.choice(ten)],
                [draw.choice(small), draw.choice(other), draw.choice(small)],
                [draw.choice(small), "point", draw.choice(small), draw.choice(small)],
                [draw.choice(("double", "triple")), draw.choice(small)],
                [draw.choice(FIGURES), draw.choice(scale)],
                [f"{draw.choice(ten)}-{draw.choice(small)}", draw.choice(PLAIN)],
                [draw.choice(scale), "and a half", draw.choice(PLAIN)],
            )
        )
    return " ".join(parts)


def currency(draw: random.Random) -> str:
    """Return amounts of money and percentages."""
    unit = draw.choice("dollar dollars cent cents pound pounds euro euros percent per".split())
    amount = draw.choice([*FIGURES, *WORDS])
    shown = draw.choice(("{} {}", "${} {}", "£{}", "€{} and {}", "{}% {}", "¢{} {}", "{} {} cent"))
    cents = (
        f"{draw.choice(('and ', ''))}{draw.randint(0, 130)} {draw.choice(('cents', 'pence', '¢'))}"
    )
    return " ".join(
        [draw.choice(PLAIN), shown.format(amount, unit), draw.choice((cents, unit, "."))]
    )


def contractions(draw: random.Random) -> str:
    """Return contractions, of words that have them and of others."""
    shorts = [*CONTRACTIONS, *(f"{draw.choice((*IS_BEHIND, *PLAIN))}{end}" for end in ENDINGS)]
    words = [draw.choice((*PLAIN, *shorts, *shorts)) for _ in range(draw.randint(2, 7))]
    text = " ".join(word.replace("'", draw.choice("''''’")) for word in words)
    return text.replace(" ", draw.choice((" ", "  ", " '")), 1)


def abbreviations(draw: random.Random) -> str:
    """Return titles, compounds, letters that stand alone, fillers and things in brackets."""
    letters = draw.choice((" ", ".", ". ", "-")).join(
        draw.choices("abicusx5", k=draw.randint(1, 5))
    )
    title = draw.choice([*TITLES])
    pair = draw.choice([*COMPOUNDS]).replace(" ", draw.choice((" ", "-", ". ")))
    noise = draw.choice(("[noise]", "<unk>", "(laughs)", "(", ")", "[", "(a) (b)", "<a [b> c]"))
    parts = [letters, f"{title}{draw.choice(('.', '', ' '))}", pair, draw.choice(FILLERS), noise]
    chosen = [*draw.sample(parts, draw.randint(2, 5)), *draw.choices(PLAIN, k=2)]
    draw.shuffle(chosen)
    return draw.choice((str, str.upper, str.title))(" ".join(chosen))


def spellings(draw: random.Random) -> str:
    """Return words of the tables, on either side, with some of their letters in capitals."""
    pairs = [*variants("spelling").items(), *variants("names").items()]
    words = [draw.choice((*draw.choice(pairs), draw.choice(PLAIN))) for _ in range(5)]
    return " ".join(draw.choice((word, word.title(), word.upper(), f"{word}'s")) for word in words)


def unicode_text(draw: random.Random) -> str:
    """Return letters, marks, digits, spaces and symbols of many scripts, between known words."""
    blocks = ((0xA0, 0x24F), (0x250, 0x3FF), (0x400, 0x5FF), (0x600, 0x6FF), (0x900, 0xDFF))
    more = ((0xE00, 0x10FF), (0x1E00, 0x23FF), (0x2460, 0x27BF), (0x3000, 0x4EFF), (0xFB00, 0xFFEF))
    words: list[str] = []
    for _ in range(draw.randint(1, 6)):
        low, high = draw.choice((*blocks, *more))
        strange = "".join(chr(draw.randint(low, high)) for _ in range(draw.randint(1, 5)))
        known = draw.choice((*PLAIN, *FIGURES, *WORDS))
        words.append(draw.choice((strange, known, known + strange, known + "\u0301")))
    return draw.choice((" ", "\u00a0", "\u2009", "\t")).join(words)


def anything(draw: random.Random) -> str:
    """Return pieces of all rules, with or without spaces between them."""
    pieces = (*PLAIN, *FIGURES, *MARKS, *WORDS, *CONTRACTIONS, *ENDINGS, *TITLES, *FILLERS)
    words = [
        draw.choice((draw.choice(pieces), draw.choice(MARKS))) for _ in range(draw.randint(1, 9))
    ]
    return "".join(word + draw.choice((" ", " ", "", "  ")) for word in words)


KINDS: Sequence[Drawer] = (
    numbers,
    likely_numbers,
    currency,
    contractions,
    abbreviations,
    spellings,
    unicode_text,
    anything,
)


def sentences(each: int = EACH) -> list[str]:
    """Return the sentences, each once, in an order that does not change."""
    found: dict[str, None] = {"": None, " ": None, "ignore time segment in scoring": None}
    for number, kind in enumerate(KINDS):
        draw = random.Random(number)
        for _ in range(each):
            found[kind(draw)] = None
    return list(found)


def digest(pairs: Sequence[Sequence[str]]) -> str:
    """Return the SHA-256 of sentences and results."""
    return hashlib.sha256(json.dumps(pairs).encode()).hexdigest()


def main() -> None:
    """Run the normaliser of a checkout, and store what it makes of the sentences."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--origin", default="", help="where the files come from, if not from git")
    arguments = parser.parse_args()
    sys.path.insert(0, str(arguments.checkout))
    reference = import_module("normalizer.normalizer").EnglishTextNormalizer()
    pairs = [[text, reference(text)] for text in sentences()]
    head = ["git", "-C", str(arguments.checkout), "rev-parse", "HEAD"]
    revision = subprocess.run(head, capture_output=True, text=True, check=False).stdout.strip()
    content = {
        "reference": arguments.origin or f"open_asr_leaderboard {revision}",
        "wanted": f"open_asr_leaderboard {REVISION}",
        "sha256": digest(pairs),
        "pairs": pairs,
    }
    arguments.output.write_bytes(lzma.compress(json.dumps(content, indent=0).encode(), preset=9))
    print(f"{len(pairs):,} sentences, {arguments.output.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
