"""Results made for tests: hypotheses with errors that are drawn, as `score` writes them."""

import json
import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from asr_lab.evaluation.options import ScoreOptions
from asr_lab.evaluation.scoring import score
from asr_lab.utils.metrics import Rule


def misheard(text: str, share: float, draw: random.Random, words: Sequence[str]) -> str:
    """Return a text in which a share of the words is another, is missing, or has one behind it."""
    heard: list[str] = []
    for word in text.split():
        chance = draw.random() / share if share else 1.0
        if chance < 0.5:
            heard.append(draw.choice(words))
        elif chance >= 0.75:
            heard += [word, draw.choice(words)] if chance < 1 else [word]
    return " ".join(heard)


def write_result(
    folder: Path,
    utterances: Iterable[Mapping[str, object]],
    share: float = 0.0,
    seed: int = 0,
    normalizer: str = "basic",
    rule: Rule = "levenshtein",
) -> Path:
    """Write `result.json` and `hypotheses.jsonl` of a system that mishears a share of the words.

    Utterances have `id` and `reference` and what else a hypothesis may have; a `hypothesis` of
    their own is taken as it is.
    """
    given = list(utterances)
    words = sorted({word for one in given for word in str(one["reference"]).split()})
    draw = random.Random(seed)
    lines = [
        {"hypothesis": misheard(str(one["reference"]), share, draw, words), **one} for one in given
    ]
    source = folder.with_name(f"{folder.name}.jsonl")
    source.parent.mkdir(parents=True, exist_ok=True)
    source.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    score(
        ScoreOptions(
            hypotheses=(str(source),), normalizer=normalizer, rule=rule, output=str(folder)
        )
    )
    return folder
