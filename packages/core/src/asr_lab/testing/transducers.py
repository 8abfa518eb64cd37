"""A small random transducer, and the plain loop that searches must agree with."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from asr_lab.models.base.interfaces import TransducerDecoder
from asr_lab.models.base.outputs import EncoderOutput, Hypothesis
from asr_lab.models.base.sequences import Sequences
from asr_lab.models.base.state import State

DIM, HIDDEN = 5, 6


class RandomTransducer(TransducerDecoder):
    """An LSTM prediction network and a joint network with peaky random weights, in float64."""

    def __init__(
        self, vocab: int, seed: int, durations: tuple[int, ...] = (), blank_bias: float = 0.0
    ) -> None:
        """Draw weights; `blank_bias` is added to the logit of the blank."""
        super().__init__()
        self.blank_id, self.durations = vocab, durations
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.encoder_side = nn.Linear(DIM, HIDDEN)
            self.embedding = nn.Embedding(vocab + 1, HIDDEN)
            self.lstm = nn.LSTM(HIDDEN, HIDDEN, batch_first=True)
            self.output = nn.Linear(HIDDEN, vocab + 1 + len(durations))
        with torch.no_grad():
            self.encoder_side.weight.mul_(3)
            self.output.weight.mul_(4)
            self.output.bias[vocab] = blank_bias
        self.double()

    def project(
        self, encoder_steps: Float[Tensor, "batch steps dim"]
    ) -> Float[Tensor, "batch steps hidden"]:
        """Apply a linear layer."""
        projected: Tensor = self.encoder_side(encoder_steps)
        return projected

    def predict(
        self, tokens: Int[Tensor, "batch tokens"], state: State
    ) -> tuple[Float[Tensor, "batch tokens hidden"], State]:
        """Run the LSTM; its state has the batch first."""
        before = None
        if isinstance(state, tuple):
            hidden, cell = state
            assert isinstance(hidden, Tensor) and isinstance(cell, Tensor)
            before = (hidden.transpose(0, 1).contiguous(), cell.transpose(0, 1).contiguous())
        predicted, (hidden, cell) = self.lstm(self.embedding(tokens), before)
        return predicted, (hidden.transpose(0, 1), cell.transpose(0, 1))

    def joint(
        self,
        projected: Float[Tensor, "batch steps hidden"],
        predicted: Float[Tensor, "batch tokens hidden"],
    ) -> Float[Tensor, "batch steps tokens scores"]:
        """Add, squash, and score."""
        both = (projected[:, :, None] + predicted[:, None]).tanh()
        logits: Tensor = self.output(both)
        return logits


def random_encoding(lengths: list[int], seed: int) -> EncoderOutput:
    """Return random float64 vectors of width `DIM`, with NaN behind each length."""
    generator = torch.Generator().manual_seed(seed)
    shape = (len(lengths), max(lengths, default=0), DIM)
    values = torch.randn(shape, generator=generator, dtype=torch.float64)
    sequences = Sequences(values, torch.tensor(lengths, dtype=torch.int64))
    values[~sequences.mask()] = torch.nan
    return EncoderOutput(sequences)


@torch.no_grad()
def transducer_reference(
    decoder: TransducerDecoder, steps: Float[Tensor, "steps dim"], max_symbols: int
) -> Hypothesis:
    """Search one utterance greedily, one decision after the other, as Graves (2012) has it."""
    tokens: list[int] = []
    times: list[float] = []
    ends: list[float] = []
    score, time, symbols, blank = 0.0, 0, 0, decoder.blank_id
    predicted, state = decoder.predict(torch.tensor([[blank]], device=steps.device), None)
    while time < len(steps):
        projected = decoder.project(steps[None, time : time + 1])
        logits = decoder.joint(projected, predicted)[0, 0, 0]
        labels = logits[: blank + 1].log_softmax(-1)
        token = int(labels.argmax())
        score += float(labels[token])
        duration = 1 if token == blank else 0
        if decoder.durations:
            lengths = logits[blank + 1 :].log_softmax(-1)
            best = int(lengths.argmax())
            score += float(lengths[best])
            duration = max(decoder.durations[best], duration)
        if token != blank:
            tokens.append(token)
            times.append(float(time))
            ends.append(float(time + duration))
            fed = torch.tensor([[token]], device=steps.device)
            predicted, state = decoder.predict(fed, state)
            symbols += 1
            if duration == 0 and symbols == max_symbols:
                duration = 1
        symbols = symbols if duration == 0 else 0
        time += duration
    timed = tuple(ends) if decoder.durations else ()
    return Hypothesis(tokens=tuple(tokens), score=score, times=tuple(times), ends=timed)
