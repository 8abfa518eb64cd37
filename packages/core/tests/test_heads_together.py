"""Several heads on one encoder: each head's loss, how losses add up, and which head speaks."""

from dataclasses import dataclass, replace
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from asr_lab.decoding import decode
from asr_lab.layers import HeadModel
from asr_lab.losses.transducer_reference import rnnt_reference, tdt_reference
from asr_lab.models.base import (
    Batch,
    DecodingOptions,
    Encoder,
    EncoderOutput,
    Hypothesis,
    Sequences,
    State,
)
from asr_lab.models.base.heads import HeadConfig
from asr_lab.models.base.outputs import total_loss
from asr_lab.utils.errors import UserError

Head = Literal["ctc", "rnnt", "tdt", "rnnt+ctc", "tdt+ctc"]
MELS, DIM, VOCAB = 4, 6, 5
FLOAT32 = 1e-5
"""Relative; the references are float64, the heads float32."""


@dataclass(frozen=True, kw_only=True)
class SmallConfig(HeadConfig):
    """Every frame is an encoder step."""

    mels: int = MELS
    vocab: int = VOCAB
    predictor_dim: int = 5
    joint_dim: int = 7
    head_dropout: float = 0.0
    durations: tuple[int, ...] = (0, 1, 2)

    def steps(self, frames: int) -> int:
        """Return the number of frames."""
        return frames


class Linear(Encoder):
    """The smallest encoder that is one."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(MELS, DIM)

    def forward(self, features: Sequences, state: State = None) -> EncoderOutput:
        return EncoderOutput(Sequences(self.linear(features.values), features.lengths))


class SmallModel(HeadModel[SmallConfig]):
    """The encoder, and heads as the configuration says."""

    def transcribe(self, batch: Batch, decoding: DecodingOptions) -> list[Hypothesis]:
        _, decoder = self.decoder(decoding)
        return decode(decoder, self.encoder(batch.features), decoding, self.config.vocab)


def model(head: Head, **values: Any) -> SmallModel:  # noqa: ANN401
    """Return the same weights for the same head."""
    config = replace(SmallConfig(head=head), **values)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return SmallModel(config, Linear(), DIM, config)


def batch(valid: tuple[bool, ...] = (True, True, True)) -> Batch:
    generator = torch.Generator().manual_seed(1)
    return Batch(
        features=Sequences(torch.randn(3, 9, MELS, generator=generator), torch.tensor([9, 4, 7])),
        tokens=torch.tensor([[0, 1, 1], [4, 0, 0], [2, 3, 0]]),
        token_lengths=torch.tensor([3, 1, 2]),
        valid=torch.tensor(valid),
    )


def reference(one: SmallModel, given: Batch, sigma: float = 0.0) -> float:
    """Return the transducer's loss from all of its scores."""
    assert one.transducer is not None
    encoded = one.encoder(given.features)
    blank = torch.full((len(given), 1), VOCAB)
    predicted, _ = one.transducer.predict(torch.cat([blank, given.tokens], 1))
    logits = one.transducer.joint(one.transducer.project(encoded.sequences.values), predicted)
    texts = (given.features.lengths, given.tokens, given.token_lengths)
    durations = one.transducer.durations
    if not durations:
        losses = rnnt_reference(logits, *texts, blank_id=VOCAB)
    else:
        losses = tdt_reference(logits, *texts, blank_id=VOCAB, durations=durations, sigma=sigma)
    return losses[given.valid].sum().item()


@pytest.mark.parametrize("head", ["rnnt", "tdt", "rnnt+ctc", "tdt+ctc"])
def test_the_transducer_is_trained_on_the_text_and_nothing_behind_it(head: Head) -> None:
    one, given = model(head), batch((True, False, True))
    name = head.split("+")[0]
    sigma = one.config.sigma if name == "tdt" else 0.0
    part = one.loss(given)[name]
    assert part.sum.item() == pytest.approx(reference(one, given, sigma), rel=FLOAT32)
    assert part.count == 2


@pytest.mark.parametrize("head", ["rnnt+ctc", "tdt+ctc"])
def test_the_whole_loss_is_the_transducer_and_a_weighted_rest(head: Head) -> None:
    one, given = model(head, ctc_weight=0.25), batch()
    name = head.split("+")[0]
    parts, counts = one.loss(given), one.loss_counts(given)
    assert counts == {name: 3, "ctc": 3} == {key: part.count for key, part in parts.items()}
    expected = (0.75 * parts[name].sum + 0.25 * parts["ctc"].sum) / 3
    assert total_loss(parts, counts).item() == pytest.approx(expected.item(), rel=FLOAT32)


@pytest.mark.parametrize("head", ["ctc", "rnnt", "tdt"])
def test_a_head_alone_has_all_the_weight(head: Head) -> None:
    one = model(head, ctc_weight=0.25)
    (part,) = one.loss(batch()).values()
    assert part.weight == 1.0
    assert set(one.decoders) == set(one.loss_counts(batch())) == {head}
    assert one.primary == head


def gradients(one: SmallModel, weighted: Tensor) -> dict[str, bool]:
    """Return which modules the gradient of a sum reaches."""
    one.zero_grad(set_to_none=True)
    weighted.backward()
    return {
        name: any(p.grad is not None and bool(p.grad.any()) for p in module.parameters())
        for name, module in one.named_children()
    }


def test_each_loss_trains_its_own_head_and_the_shared_encoder() -> None:
    one = model("tdt+ctc")
    parts = one.loss(batch())
    reached = gradients(one, parts["ctc"].sum)
    assert reached == {"encoder": True, "head": True, "transducer": False}
    parts = one.loss(batch())
    reached = gradients(one, parts["tdt"].sum)
    assert reached == {"encoder": True, "head": False, "transducer": True}


@pytest.mark.parametrize("head", ["ctc", "rnnt+ctc", "tdt+ctc"])
def test_a_batch_of_which_nothing_counts_has_no_loss_and_no_gradient(head: Head) -> None:
    one, given = model(head), batch((False, False, False))
    parts, counts = one.loss(given), one.loss_counts(given)
    assert set(counts.values()) == {0}
    assert all(part.sum.item() == 0 for part in parts.values())
    assert not any(gradients(one, total_loss(parts, counts)).values())


def test_sigma_and_fast_emit_are_those_of_the_configuration() -> None:
    # The same weights: neither value has a parameter.
    plain, favoured = model("tdt", sigma=0.0), model("tdt", sigma=0.5)
    assert reference(favoured, batch(), 0.5) > reference(plain, batch()) + 1
    assert favoured.loss(batch())["tdt"].sum.item() == pytest.approx(
        reference(favoured, batch(), 0.5), rel=FLOAT32
    )
    # An RNN-T has no durations to favour.
    unmoved = [model("rnnt", sigma=sigma).loss(batch())["rnnt"].sum for sigma in (0.0, 0.5)]
    assert torch.equal(*unmoved)
    losses, slopes = [], []
    for fast_emit in (0.0, 0.5):
        one = model("rnnt", fast_emit=fast_emit)
        assert one.transducer is not None
        part = one.loss(batch())["rnnt"].sum
        losses.append(part.item())
        slopes.append(torch.autograd.grad(part, one.transducer.out.bias)[0])
    assert losses[0] == losses[1] and not torch.equal(*slopes)


@pytest.mark.parametrize("head", ["rnnt", "tdt+ctc"])
def test_the_configuration_lets_the_gradient_leave_cells_out(head: Head) -> None:
    name, slopes = head.split("+")[0], []
    for part in (0.0, 0.9):
        one = model(head, gradient_bound=part)
        assert one.transducer is not None
        loss = one.loss(batch())[name].sum
        slopes.append((loss.detach(), *torch.autograd.grad(loss, one.transducer.out.weight)))
    (loss, slope), (same, other) = slopes
    assert torch.equal(loss, same) and not torch.equal(slope, other)


@pytest.mark.parametrize("head", ["rnnt+ctc", "tdt+ctc"])
@pytest.mark.parametrize("beam", [1, 3])
def test_the_transducer_speaks_unless_ctc_is_asked(head: Head, beam: int) -> None:
    one = model(head).eval()
    encoded, name = one.encoder(batch().features), head.split("+")[0]
    for asked, speaking in {"": name, name: name, "ctc": "ctc"}.items():
        options = DecodingOptions(decoder=asked, beam=beam, max_symbols=3)
        found = one.transcribe(batch(), options)
        assert found == decode(one.decoders[speaking], encoded, options, VOCAB)
        assert bool(found[0].ends) is (speaking == "tdt" and bool(found[0].tokens))
    other = {"rnnt": "tdt", "tdt": "rnnt"}[name]
    with pytest.raises(UserError, match=f"no decoder '{other}'"):
        one.transcribe(batch(), DecodingOptions(decoder=other))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"ctc_weight": 0.0}, "ctc-weight must be between 0 and 1; got 0.0"),
        ({"ctc_weight": 1.0}, "ctc-weight must be between 0 and 1; got 1.0"),
        ({"head_dropout": 1.0}, "head-dropout must be from 0 to below 1; got 1.0"),
        ({"joint_dim": 0}, "joint-dim must be 1 or more"),
        ({"predictor_layers": 0}, "predictor-layers must be 1 or more"),
        ({"sigma": -0.1}, "sigma must be 0 or more"),
        ({"fast_emit": -0.1}, "fast-emit must be 0 or more"),
        ({"gradient_bound": 1.0}, "gradient-bound must be from 0 to below 1; got 1.0"),
        ({"sigma": float("nan")}, "sigma must be 0 or more"),
        ({"fast_emit": float("inf")}, "fast-emit must be 0 or more"),
        ({"durations": (0, 2)}, "durations must be distinct, 0 or more, with 0 and 1"),
        ({"durations": (1, 2)}, "durations must be distinct, 0 or more, with 0 and 1"),
        ({"durations": (0, 1, 1)}, "durations must be distinct, 0 or more, with 0 and 1"),
        ({"durations": (-1, 0, 1)}, "durations must be distinct, 0 or more, with 0 and 1"),
    ],
)
def test_heads_that_cannot_be_built_are_refused_by_the_name_of_the_flag(
    values: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        replace(SmallConfig(), **values)
