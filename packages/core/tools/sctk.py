"""NIST's `sclite` and `sc_stats` (Debian's `sctk`), and the texts that tests compare us with.

    python packages/core/tools/sctk.py packages/core/tests/fixtures/sctk.json.gz

runs both on pairs that are drawn here and stores what they count, so that tests need no sctk. A
test runs them again where they are installed.
"""

import argparse
import gzip
import hashlib
import json
import random
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

FOLDERS = ("/usr/lib/sctk/bin", "/usr/local/bin")
MARKUP = "(){}/@%;<>*\\\"'"
"""Characters that sclite reads as something else than a part of a word; drawn texts have none."""
Pair = tuple[str, str]
"""A reference and a hypothesis."""


@dataclass(frozen=True)
class Comparison:
    """Two systems on the same drawn references."""

    vocabulary: int
    seed: int
    size: int
    """Number of utterances."""

    def texts(self) -> tuple[list[str], list[str], list[str]]:
        """Return references, and the hypotheses of both systems."""
        vocabulary, draw = words(self.vocabulary), random.Random(self.seed)
        texts = [draw.choices(vocabulary, k=draw.randint(0, 25)) for _ in range(self.size)]
        first, second = (
            [" ".join(damaged(text, vocabulary, draw)) for text in texts] for _ in range(2)
        )
        return [" ".join(text) for text in texts], first, second


def program(name: str) -> str | None:
    """Return the path of a program of sctk, or None if it is not installed."""
    return next((found for f in FOLDERS if (found := shutil.which(name, path=f))), None)


def words(count: int, letters: str = "abcdefghijklmnopqrstuvwxyzäßéœøжщλ語音") -> list[str]:
    """Return `count` different words, the same on every machine."""
    draw, found = random.Random(count), dict[str, None]()
    while len(found) < count:
        found["".join(draw.choices(letters, k=draw.randint(1, 3 + count // 400)))] = None
    return list(found)


def damaged(text: Sequence[str], vocabulary: Sequence[str], draw: random.Random) -> list[str]:
    """Return a text as a recogniser might read it, from nearly right to nearly wrong."""
    rate, found = draw.choice((0.05, 0.15, 0.4, 0.9)), list[str]()
    for word in text:
        kind = draw.random() / rate
        found += [] if kind < 0.3 else [draw.choice(vocabulary)] if kind < 0.7 else [word]
        found += [draw.choice(vocabulary)] if draw.random() < 0.25 * rate else []
    return found


def drawn(vocabulary: Sequence[str], count: int, seed: int) -> list[Pair]:
    """Return random pairs of 0 to 40 words; every tenth hypothesis has nothing to do with it."""
    draw, pairs = random.Random(seed), list[Pair]()
    for index in range(count):
        reference = draw.choices(vocabulary, k=draw.randint(0, 40))
        other = draw.choices(vocabulary, k=draw.randint(0, 40))
        hypothesis = damaged(reference, vocabulary, draw) if index % 10 else other
        pairs.append((" ".join(reference), " ".join(hypothesis)))
    return pairs


def adversarial() -> list[Pair]:
    """Return pairs that are easy to get wrong."""
    many = " ".join(words(300))
    texts = [
        *("", "a", "b", "a b", "b a", "a a", "a a a a", "a b a b a b", "b a b a b a"),
        *("a b c d e f", "f e d c b a", "x y z", "a x b y c z", "a b b b c", "a c c c b"),
        *("é", "e\u0301", "É", "ß", "ss", "語 音", "語音", "𝔘𝔫𝔦 😀", "नमस्ते दुनिया", "שלום עולם"),
        *("A a A", "a A a", "1 2 3", "1,2 3.", "it-is", "it is", "#1 & ~ ^ $ = + _ | ! ?"),
        *(many, " ".join(many.split()[::-1]), " ".join(many.split()[1:]), "a " * 200),
    ]
    return [(one.strip(), other.strip()) for one in texts for other in texts]


FAMILIES = {"2": 2, "5": 5, "20": 20, "2000": 2000, "8000": 8000}
"""Names of families of random pairs, and how many words each draws from."""


def families(count: int = 1000) -> dict[str, list[Pair]]:
    """Return all pairs, by family."""
    found = {name: drawn(words(size), count, size) for name, size in FAMILIES.items()}
    return {**found, "adversarial": adversarial()}


def write_trn(path: Path, texts: Sequence[str]) -> None:
    """Write texts with ids in the order of their numbers, a speaker for every hundred."""
    lines = [f"{text} (s{i // 100:04d}_{i:06d})\n" for i, text in enumerate(texts)]
    path.write_text("".join(lines), encoding="utf-8")


def aligned(folder: Path, references: Sequence[str], systems: Sequence[Sequence[str]]) -> str:
    """Return the alignments of some systems by sclite, in its SGML."""
    sclite = program("sclite")
    assert sclite, "no sclite; apt-get install sctk"
    write_trn(folder / "reference", references)
    command = [sclite, "-s", "-e", "utf-8", "-i", "swb", "-r", str(folder / "reference"), "trn"]
    for index, texts in enumerate(systems):
        write_trn(folder / f"system{index}", texts)
        command += ["-h", str(folder / f"system{index}"), "trn", f"system{index}"]
    command += ["-o", "sgml", "stdout", "-f", "0"]
    return subprocess.run(command, check=True, capture_output=True).stdout.decode("utf-8")


def counted(pairs: Sequence[Pair]) -> list[tuple[int, int, int]]:
    """Return sclite's substitutions, deletions and insertions of each pair."""
    references, hypotheses = [one for one, _ in pairs], [other for _, other in pairs]
    with tempfile.TemporaryDirectory() as folder:
        text = aligned(Path(folder), references, [hypotheses])
    found = dict(paths(text))
    rows = [found[index] for index in range(len(pairs))]
    return [(row.count("S"), row.count("D"), row.count("I")) for row in rows]


def paths(sgml: str) -> Iterator[tuple[int, str]]:
    """Yield the number of each utterance, and its moves as letters."""
    for head, body in re.findall(r'<PATH id="\(s\d+_(\d+)\)"[^>]*>\n(.*?)\n?</PATH>', sgml, re.S):
        yield int(head), "".join(re.findall(r"(?:^|:)([CSDI]),", body))


def compared(
    references: Sequence[str], one: Sequence[str], two: Sequence[str]
) -> tuple[int, float]:
    """Return the segments and z of `sc_stats -t mapsswe` for two systems."""
    stats = program("sc_stats")
    assert stats, "no sc_stats; apt-get install sctk"
    with tempfile.TemporaryDirectory() as folder:
        text = aligned(Path(folder), references, [one, two])
        command = [stats, "-p", "-t", "mapsswe", "-v", "-n", "-"]
        done = subprocess.run(command, input=text.encode(), capture_output=True, check=True)
    report = done.stdout.decode("utf-8", "replace")
    segments = re.search(r"\(# segs: (\d+)\)", report)
    z = re.search(r"\(Z Stat: (-?[\d.]+|-?nan)\)", report)
    assert segments and z, report
    return int(segments[1]), float(z[1])


def comparisons() -> list[Comparison]:
    """Return what is compared by matched pairs: sizes from 3 utterances to 400."""
    return [
        Comparison(vocabulary, seed, size)
        for vocabulary in (200, 2000, 8000)
        for seed, size in enumerate((3, 8, 20, 40, 40, 100, 200, 400))
    ]


def digest(pairs: Sequence[Pair]) -> str:
    """Return the SHA-256 of some pairs."""
    return hashlib.sha256(json.dumps(list(pairs)).encode()).hexdigest()


def measured() -> dict[str, object]:
    """Return what sctk says about all families and comparisons."""
    return {
        "families": {
            name: {"digest": digest(pairs), "counts": counted(pairs)}
            for name, pairs in families().items()
        },
        "comparisons": [{**asdict(one), "result": compared(*one.texts())} for one in comparisons()],
    }


def main() -> None:
    """Run sctk and write what it says, the same bytes each time."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    output = parser.parse_args().output
    text = json.dumps(measured(), separators=(",", ":"))
    output.write_bytes(gzip.compress(text.encode(), mtime=0))


if __name__ == "__main__":
    main()
