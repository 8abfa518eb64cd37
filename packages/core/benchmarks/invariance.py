"""Recognise a test set in batches of 1, 8 and 64, sorted and shuffled: the texts must be the same.

    python packages/core/benchmarks/invariance.py docs/results/invariance --runs FOLDER

takes the models from FOLDER/NAME/best.pt and trains those that are not there, tiny and for as
long as a word error rate well below 30 % takes; writes `.json` and `.md`. A text that differs is a
tie if the scores of both are equal within 1e-5 of them: then rounding decided.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from asr_lab.cli import main as asr_lab
from asr_lab.reproducibility.environment import machine

MODELS = {
    "conformer": "--model conformer --train.epochs 5",
    "conformer-transducer": "--model conformer --model.head rnnt+ctc --train.epochs 5",
    "ssm": "--model ssm --train.epochs 6",
    "whisper": "--model whisper --train.epochs 10",
}
"""Names of trained models, and the flags that train them."""
DECODERS = {
    "conformer": ("ctc",),
    "conformer-transducer": ("rnnt", "ctc"),
    "ssm": ("ctc",),
    "whisper": ("attention",),
}
"""Those that are trained to be used; Whisper's CTC only helps to train its encoder."""
WAYS = [(size, order) for size in (1, 8, 64) for order in ("longest", "shuffled")]
"""Utterances in a batch, and the order in which they come."""
TOLERANCE = 1e-5
"""Relative difference of scores that rounding explains; as the models promise."""
MOST_ERRORS, FEWEST = 0.3, 200
"""A model that says nothing, or always the same, would be invariant: what makes it a proof."""
DISTRIBUTIONS = ("asr-lab-core", "asr-lab-conformer", "asr-lab-ssm", "asr-lab-whisper", "torch")


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way to make batches, and what came of it compared with the first way."""

    batch_size: int
    order: str
    different: int
    """Texts that differ and are no ties."""
    ties: int
    """Texts that differ where rounding decided."""
    score_difference: float
    """Largest relative difference of the scores of equal texts."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A decoder of a model, in all ways."""

    model: str
    decoder: str
    beam: int
    utterances: int
    word_error_rate: float
    empty: int
    """Utterances in which nothing was recognised."""
    ways: tuple[Way, ...]

    @property
    def proves(self) -> bool:
        """True if the texts are those of a model that hears, and the same in all ways."""
        heard = self.word_error_rate < MOST_ERRORS and not self.empty
        return heard and self.utterances >= FEWEST and not any(way.different for way in self.ways)


Found = dict[str, tuple[str, float]]
"""Text and score of each utterance, by id."""


def recognised(checkpoint: Path, dataset: str, flags: str) -> tuple[Found, float]:
    """Evaluate on the CPU in FP32; return texts and scores, and the word error rate."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["evaluate", "--checkpoint", str(checkpoint), "--dataset", dataset]
        where = ["--device", "cpu", "--precision", "fp32", "--workers", "0", "--json", "--output"]
        status = quietly([*words, *flags.split(), *where, f"{folder}/out"])
        assert status == 0, f"evaluate ended with status {status}"
        result = json.loads(Path(folder, "out", "result.json").read_text())
        lines = Path(folder, "out", "hypotheses.jsonl").read_text("utf-8").splitlines()
    found = {one["id"]: (one["hypothesis"], one["score"]) for one in map(json.loads, lines)}
    return found, result["words"]["error_rate"]


def quietly(words: Sequence[str]) -> int:
    """Run a command of the lab without what it prints."""
    before = sys.stdout
    with open(os.devnull, "w") as sys.stdout:
        try:
            return asr_lab(words)
        finally:
            sys.stdout = before


def compared(size: int, order: str, first: Found, other: Found) -> Way:
    """Count the texts that differ."""
    assert first.keys() == other.keys(), "both must hold the same utterances"
    different, ties, largest = 0, 0, 0.0
    for name, (text, score) in first.items():
        again, score_again = other[name]
        distance = abs(score - score_again) / max(abs(score), abs(score_again), 1.0)
        if text == again:
            largest = max(largest, distance)
        elif distance <= TOLERANCE:
            ties += 1
        else:
            different += 1
    return Way(
        batch_size=size, order=order, different=different, ties=ties, score_difference=largest
    )


def in_all_ways(
    name: str,
    checkpoint: Path,
    decoder: str,
    beam: int,
    dataset: str,
    chosen_ways: Sequence[tuple[int, str]] = WAYS,
) -> Row:
    """Recognise a set in all ways, and compare each with utterances that are alone."""
    chosen = f"--decoder {decoder} --beam {beam}"
    first, rate = recognised(checkpoint, dataset, f"{chosen} --batch-size 1 --order dataset")
    ways = []
    for size, order in chosen_ways:
        flags = f"{chosen} --batch-size {size} --order {order}"
        other, _ = recognised(checkpoint, dataset, flags)
        ways.append(compared(size, order, first, other))
    return Row(
        model=name,
        decoder=decoder,
        beam=beam,
        utterances=len(first),
        word_error_rate=rate,
        empty=sum(not text.strip() for text, _ in first.values()),
        ways=tuple(ways),
    )


def trained(name: str, runs: Path) -> Path:
    """Return the checkpoint of a model, which is trained if it is not there."""
    checkpoint = runs / name / "best.pt"
    if not checkpoint.exists():
        flags = f"{MODELS[name]} --config tiny --seed 0 --output {runs / name}"
        assert asr_lab(["train", *flags.split()]) == 0, f"{name} was not trained"
    return checkpoint


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table."""
    lines = [
        "# Batches do not change what is recognised",
        "",
        "Test split of `spoken/en`, FP32 on the CPU. Each utterance alone, against batches of 1, 8"
        " and 64 utterances, sorted by length and shuffled: texts that differ, and apart from them"
        " ties, which are texts that differ where scores are equal within 1e-5.",
        "",
        "| model | decoder | beam | utterances | WER % | empty | different | ties | largest"
        " difference of scores |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        different = sum(way.different for way in row.ways)
        ties = sum(way.ties for way in row.ways)
        largest = max(way.score_difference for way in row.ways)
        lines.append(
            f"| {row.model} | {row.decoder} | {row.beam} | {row.utterances} "
            f"| {100 * row.word_error_rate:.1f} | {row.empty} | {different} | {ties} "
            f"| {largest:.1e} |"
        )
    return "\n".join(lines) + "\n"


def main() -> int:
    """Train what is missing, recognise, print and store; the status is 1 if anything differs."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path, help="file name without ending")
    parser.add_argument("--runs", type=Path, required=True, help="folder of the trained models")
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    parser.add_argument("--beams", nargs="+", type=int, default=[1])
    options = parser.parse_args()
    rows = []
    for name in options.models:
        checkpoint = trained(name, options.runs)
        for decoder in DECODERS[name]:
            for beam in options.beams:
                rows.append(in_all_ways(name, checkpoint, decoder, beam, "spoken/en/test"))
                print(table(rows[-1:]).splitlines()[-1], flush=True)
    result = {
        "command": "python packages/core/benchmarks/invariance.py docs/results/invariance"
        f" --runs FOLDER --beams {' '.join(map(str, options.beams))}",
        "training": {name: MODELS[name] for name in options.models},
        "machine": machine(),
        "versions": {name: version(name) for name in DISTRIBUTIONS},
        "rows": [{**asdict(row), "proves": row.proves} for row in rows],
    }
    options.output.with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n")
    options.output.with_suffix(".md").write_text(table(rows))
    return 0 if all(row.proves for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
