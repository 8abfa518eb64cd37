"""Normalise many texts: each once, on all cores, and never again while they stay the same.

What a slow rule made of many texts is kept in a folder, under the digest of these texts and of the
rule. Nothing else is needed to know what a kept file is for, so all of them may be deleted at any
time, and any number of processes may write.
"""

import hashlib
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from itertools import chain, repeat
from multiprocessing import get_context
from pathlib import Path

from asr_lab.evaluation.normalizers import SLOW, Normalizer, normalizer
from asr_lab.utils import files
from asr_lab.utils.errors import UserError
from asr_lab.utils.files import write_atomically

MANY, PART = 10_000, 1_000
"""Texts from which on processes share the work and results are kept; texts that one takes."""


def normalise(
    texts: Iterable[str],
    rule: Normalizer,
    processes: int | None = None,
    folder: Path | None = None,
) -> dict[str, str]:
    """Return what a rule makes of each text; equal texts are done once.

    Rules with tables take up to 0.5 ms for a text, so many texts are shared out among processes:
    one for each core, if their number is not given. `folder` is where results are kept; None for
    nowhere.
    """
    distinct = list(dict.fromkeys(texts))
    if folder is None:
        return dict(zip(distinct, _made(distinct, rule, processes), strict=True))
    path = folder / f"{_digest(distinct)[:32]}-{rule.digest[:32]}.txt"
    if (kept := _read(path, len(distinct))) is None:
        kept = _made(distinct, rule, processes)
        with suppress(UserError, OSError):  # a full disk or somebody else's folder stops nobody
            _keep(path, kept)
    return dict(zip(distinct, kept, strict=True))


def refuse_empty(references: Iterable[str], rule: Normalizer, dataset: str) -> None:
    """Raise UserError if a rule leaves nothing of any reference, so that no rate can be counted."""
    if not any(rule.apply(text).strip() for text in references):
        raise UserError(
            f"nothing to compare in {dataset}: every reference is empty (normaliser {rule.id});"
            " add the texts, or choose another normaliser"
        )


def cache_folder(texts: int, rule: Normalizer) -> Path | None:
    """Return where results for so many texts are kept; None for nowhere, as an empty CACHE says."""
    if texts < MANY or rule.name not in SLOW:
        return None
    if os.environ.get(files.CACHE) == "":
        return None
    return files.cache_folder() / "normalised"


def _made(texts: Sequence[str], rule: Normalizer, processes: int | None) -> list[str]:
    """Apply the rule to each text."""
    if processes is None:
        processes = os.cpu_count() or 1 if len(texts) >= MANY and rule.name in SLOW else 1
    if processes == 1:
        return list(map(rule.apply, texts))
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        parts = [texts[start : start + PART] for start in range(0, len(texts), PART)]
        return list(chain.from_iterable(pool.map(_part, repeat(rule.id), parts)))


def _part(rule: str, texts: Sequence[str]) -> list[str]:
    """Apply the rule of an id, in another process."""
    return list(map(normalizer(rule).apply, texts))


def _digest(texts: Sequence[str]) -> str:
    """Return the SHA-256 of texts in their order; the length of each says where it ends."""
    joined = "\n".join(texts)
    ends = ",".join(map(str, map(len, texts)))
    return hashlib.sha256(f"{ends}\n{joined}".encode("utf-8", "surrogatepass")).hexdigest()


def _read(path: Path, count: int) -> list[str] | None:
    """Return what a kept file holds, or None if it is not there or not whole."""
    try:
        head, content = path.read_bytes().split(b"\n", 1)
        if head.decode() != hashlib.sha256(content).hexdigest():
            return None
        found = content.decode("utf-8", "surrogatepass").split("\n")
    except (OSError, ValueError):
        return None
    return found if len(found) == count else None


def _keep(path: Path, texts: Sequence[str]) -> None:
    """Write a file: its digest, then a text a line; whoever writes at the same time does the same.

    Texts of several lines, which no slow rule makes, are not kept.
    """
    content = "\n".join(texts).encode("utf-8", "surrogatepass")
    if content.count(b"\n") != len(texts) - 1:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, hashlib.sha256(content).hexdigest().encode() + b"\n" + content)
