"""Greedy searches that go on where they stopped, as the steps of a stream arrive."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import torch
from jaxtyping import Int64
from torch import Tensor

from asr_lab.decoding.ctc import ctc_greedy
from asr_lab.decoding.transducer_step import Encoded, Progress, advance, start, steps_left
from asr_lab.models.base.interfaces import CTCDecoder, Decoder, TransducerDecoder
from asr_lab.models.base.options import DecodingOptions
from asr_lab.models.base.outputs import EncoderOutput, Hypothesis
from asr_lab.utils.errors import UserError


@dataclass
class _Found:
    """What was found so far of one stream."""

    tokens: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)
    score: float = 0.0
    steps: int = 0
    """Encoder steps that were searched."""

    def hypothesis(self) -> Hypothesis:
        """Return all of it."""
        return Hypothesis(
            tokens=tuple(self.tokens),
            score=self.score,
            times=tuple(self.times),
            ends=tuple(self.ends),
        )


class OnlineSearch(ABC):
    """A search over streams; after all pieces it has found what the search of the whole finds."""

    def __init__(self, streams: int) -> None:
        """Start before the first step of `streams`."""
        self._found = [_Found() for _ in range(streams)]

    @abstractmethod
    def push(self, encoder_output: EncoderOutput) -> None:
        """Search the next steps of each stream, none or any number."""

    def hypotheses(self) -> list[Hypothesis]:
        """Return what was found so far of each stream; greedy search takes nothing back."""
        return [found.hypothesis() for found in self._found]


class OnlineCTC(OnlineSearch):
    """`ctc_greedy` piece by piece: each goes on from the label of the step before it."""

    def __init__(self, decoder: CTCDecoder, streams: int, blank_id: int) -> None:
        """Start before the first step of `streams`."""
        super().__init__(streams)
        self.decoder, self.blank_id = decoder, blank_id
        self._last = torch.full((streams, 1), blank_id)

    def push(self, encoder_output: EncoderOutput) -> None:
        """Search the next steps of each stream."""
        lengths = encoder_output.sequences.lengths
        if not encoder_output.sequences.values.shape[1]:
            return
        log_probs = self.decoder.log_probs(encoder_output)
        last = self._last.to(log_probs.device)
        # The step before stands in front, certain of its label; its own start is left out below.
        before = torch.full_like(log_probs[:, :1], -torch.inf).scatter(2, last[..., None], 0.0)
        joined = torch.cat([before, log_probs], 1)
        found = ctc_greedy(joined, lengths + 1, self.blank_id)
        labels = last[:, 0].tolist()
        rows = zip(self._found, found, labels, lengths.tolist(), strict=True)
        for row, new, label, steps in rows:
            known = int(label != self.blank_id)
            row.tokens += new.tokens[known:]
            row.times += [time - 1 + row.steps for time in new.times[known:]]
            row.score += new.score
            row.steps += steps
        self._last = joined.argmax(-1).gather(1, lengths.to(joined.device)[:, None])


class OnlineTransducer(OnlineSearch):
    """`transducer_greedy` piece by piece: what the search knows of each stream is carried on."""

    def __init__(self, decoder: TransducerDecoder, streams: int, options: DecodingOptions) -> None:
        """Start before the first step of `streams`."""
        super().__init__(streams)
        self.decoder, self.options = decoder, options
        self._progress: Progress | None = None

    def push(self, encoder_output: EncoderOutput) -> None:
        """Search the next steps of each stream."""
        sequences = encoder_output.sequences
        if not sequences.values.shape[1]:
            return
        lengths = sequences.lengths.to(sequences.values.device, torch.int64)
        durations = torch.tensor(self.decoder.durations, dtype=torch.int64, device=lengths.device)
        encoded = Encoded(self.decoder.project(sequences.values), lengths, durations)
        progress = self._progress or start(self.decoder, encoded)
        records: list[Int64[Tensor, "batch 3"]] = []
        while count := steps_left(self.decoder, encoded, progress):
            for _ in range(count):
                symbols = self.options.max_symbols
                progress, record = advance(self.decoder, encoded, progress, symbols)
                records.append(record)
        # A duration may lead beyond these steps: what is left of it is taken off the next.
        self._progress = progress._replace(time=progress.time - lengths)
        self._collect(records, lengths, progress)

    def _collect(
        self,
        records: list[Int64[Tensor, "batch 3"]],
        lengths: Int64[Tensor, " batch"],
        progress: Progress,
    ) -> None:
        """Append the labels of these steps to those before."""
        looks = torch.stack(records, 1).tolist() if records else [[] for _ in self._found]
        rows = zip(self._found, looks, lengths.tolist(), progress.score.tolist(), strict=True)
        for row, seen, steps, score in rows:
            for token, time, duration in seen:
                if token >= 0:
                    row.tokens.append(token)
                    row.times.append(float(time + row.steps))
                    if self.decoder.durations:
                        row.ends.append(float(time + row.steps + duration))
            row.steps += steps
            row.score = score


def online_search(
    decoder: Decoder, streams: int, options: DecodingOptions, vocab: int
) -> OnlineSearch:
    """Return the greedy search that fits a decoder, whatever the beam.

    Raises UserError for a decoder that needs the whole utterance.
    """
    if isinstance(decoder, CTCDecoder):
        return OnlineCTC(decoder, streams, blank_id=vocab)
    if isinstance(decoder, TransducerDecoder):
        return OnlineTransducer(decoder, streams, options)
    raise UserError(f"a {type(decoder).__name__} cannot decode a stream; use CTC or a transducer")
