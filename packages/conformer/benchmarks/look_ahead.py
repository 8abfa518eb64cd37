"""Measure the error rate of a streaming checkpoint at each look-ahead.

    python packages/conformer/benchmarks/look_ahead.py CHECKPOINT docs/results/streaming

writes docs/results/streaming.json and .md. The weights are the same in every row; the look-ahead is
what `asr-lab transcribe --stream` prints. Error rates are those of the offline pass under the masks
of a stream, which tests hold to be the same; the first `--streamed` utterances are also recognised
as streams, in pieces of 100 ms, and those are counted whose text is another.
"""

import argparse
import json
import warnings
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import cast

from asr_lab.data.audio_batch import AudioBatch
from asr_lab.data.loader import Request, evaluation_dataset
from asr_lab.data.names import read_dataset, resolve
from asr_lab.decoding import StreamingRecogniser
from asr_lab.evaluation.normalizers import normalizers
from asr_lab.evaluation.options import EvaluateOptions
from asr_lab.evaluation.recogniser import Loaded, load_checkpoint
from asr_lab.evaluation.run import Task, assemble, language_of
from asr_lab.evaluation.sharing import Share, batches, planned, recognise
from asr_lab.models.base import ASRModel, ModelConfig
from asr_lab.models.conformer import ConformerASRModel, put_in_streaming_mode
from asr_lab.plugins import installed_plugins
from asr_lab.reproducibility.environment import machine

DISTRIBUTIONS = ("asr-lab-core", "asr-lab-conformer", "torch")
PIECE_SECONDS = 0.1
INTRODUCTION = (
    "Made by `look_ahead.py`. The weights are the same in every row; some utterances were also"
    " recognised as streams, in pieces of 100 ms, and those are counted whose text is another."
)
TITLE = "# One model at several look-aheads\n"
HEAD = (
    "| chunk, steps | look-ahead, ms | WER % | 95 % interval | CER % | streams that differ |",
    "|---|---|---|---|---|---|",
)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What is written of one size of chunk."""

    chunk: int
    look_ahead_ms: float
    word_error_rate: float
    interval: tuple[float, float]
    character_error_rate: float
    streamed: int
    streams_that_differ: int

    def row(self) -> str:
        """Return a row of the table."""
        low, high = (100 * bound for bound in self.interval)
        return (
            f"| {self.chunk} | {self.look_ahead_ms:g} | {100 * self.word_error_rate:.2f} "
            f"| {low:.2f} to {high:.2f} | {100 * self.character_error_rate:.2f} "
            f"| {self.streams_that_differ} of {self.streamed} |"
        )


def measure(options: argparse.Namespace) -> list[Measured]:
    """Evaluate every size of chunk on the same utterances."""
    plugins = installed_plugins()
    loaded = load_checkpoint(options.checkpoint, plugins)
    model = loaded.model
    assert isinstance(model, ConformerASRModel), "only a conformer streams"
    dataset = resolve(options.dataset, plugins.registry, "test", loaded.portable.language)
    found, utterances = [], list(read_dataset(dataset))
    evaluating = EvaluateOptions(
        checkpoint=str(options.checkpoint), dataset=options.dataset, workers=0, device="cpu"
    )
    language = language_of(utterances) or loaded.portable.language
    followed = evaluation_dataset(utterances[: options.streamed], model.config.sample_rate)
    requests = [Request(0, one) for one in planned(evaluating, followed.index.durations)]
    some = list(batches(evaluating, followed, requests))
    for chunk in options.chunks or sorted({model.config.chunk, *model.config.chunks}):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a size that training did not see
            left = model.config.left_context
            quick = put_in_streaming_mode(model, chunk=chunk, left_context=left).eval()
        here = replace(loaded, model=cast(ASRModel[ModelConfig], quick))
        task = Task(
            here,
            dataset.typed,
            dataset.label,
            utterances,
            unusable={},
            language=language,
            rules=normalizers(evaluating.normalizer, language),
        )
        alone = Share(rank=0, size=1, device="cpu")
        part = recognise(evaluating, here, utterances, alone, language)
        result = assemble(evaluating, task, [part])
        whole = {one.id: one.hypothesis for one in result.utterances}
        streamed = [pair for batch in some for pair in follow(here, quick, batch)]
        found.append(
            Measured(
                chunk=chunk,
                look_ahead_ms=StreamingRecogniser(quick).look_ahead_ms,
                word_error_rate=result.word_errors.rate,
                interval=(result.word_interval.low, result.word_interval.high),
                character_error_rate=result.character_errors.rate,
                streamed=len(streamed),
                streams_that_differ=sum(whole[name] != text for name, text in streamed),
            )
        )
        print(found[-1].row(), flush=True)
    return found


def follow(loaded: Loaded, model: ConformerASRModel, batch: AudioBatch) -> list[tuple[str, str]]:
    """Return ids and texts of utterances that are recognised as streams of one batch."""
    piece = int(PIECE_SECONDS * model.config.sample_rate)
    recogniser = StreamingRecogniser(model, streams=len(batch))
    sounds = [
        row[:length].float() / 32768
        for row, length in zip(batch.samples, batch.lengths.tolist(), strict=True)
    ]
    for start in range(0, batch.samples.shape[1], piece):
        recogniser.push([sound[start : start + piece] for sound in sounds])
    texts = [loaded.tokenizer.decode(one.tokens) for one in recogniser.finish()]
    return list(zip(batch.utterance_ids, texts, strict=True))


def main() -> None:
    """Measure, print, and write."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("output", type=Path, help="file name without ending")
    parser.add_argument("--dataset", default="spoken/en/test")
    parser.add_argument("--chunks", type=int, nargs="*", help="those of training unless given")
    parser.add_argument("--streamed", type=int, default=24)
    parser.add_argument("--trained", default="", help="what trained the checkpoint, for the file")
    options = parser.parse_args()
    print("\n".join(HEAD))
    found = measure(options)
    about = f"{INTRODUCTION}\n\n`{options.trained}`\n" if options.trained else INTRODUCTION + "\n"
    lines = [TITLE, about, *HEAD, *(one.row() for one in found)]
    sizes = " ".join(str(one.chunk) for one in found)
    script = "python packages/conformer/benchmarks/look_ahead.py"
    result = {
        "command": f"{script} CHECKPOINT OUTPUT --dataset {options.dataset} --chunks {sizes}",
        "trained": options.trained,
        "dataset": options.dataset,
        "machine": machine(),
        "versions": {name: version(name) for name in DISTRIBUTIONS},
        "rows": [asdict(one) for one in found],
    }
    text = json.dumps(result, indent=2) + "\n"
    options.output.with_suffix(".json").write_text(text, encoding="utf-8")
    options.output.with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
