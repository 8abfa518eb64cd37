"""The transducer's networks against a slow reference, and its state."""

from typing import Literal

import pytest
import torch
from torch import Tensor

from asr_lab.layers import TransducerHead
from asr_lab.models.base import select_state

VOCAB, BLANK = 5, 5


def head(
    *,
    layers: int = 2,
    activation: Literal["relu", "tanh"] = "relu",
    durations: tuple[int, ...] = (),
    dropout: float = 0.0,
) -> TransducerHead:
    torch.manual_seed(0)
    return TransducerHead(
        4,
        VOCAB,
        predictor_dim=6,
        predictor_layers=layers,
        joint_dim=7,
        activation=activation,
        durations=durations,
        dropout=dropout,
    ).double()


def lstm_reference(layer: TransducerHead, tokens: list[int]) -> Tensor:
    """Run one utterance through the LSTM, gate by gate."""
    lstm, size = layer.lstm, 6
    steps = [
        torch.zeros(size).double() if token == BLANK else layer.embedding.weight[token]
        for token in tokens
    ]
    for number in range(lstm.num_layers):
        weight_in, weight_out, bias_in, bias_out = lstm.all_weights[number]
        hidden, cell = torch.zeros(size).double(), torch.zeros(size).double()
        outputs = []
        for step in steps:
            gates = weight_in @ step + bias_in + weight_out @ hidden + bias_out
            enter, forget, new, leave = gates.split(size)
            cell = forget.sigmoid() * cell + enter.sigmoid() * new.tanh()
            hidden = leave.sigmoid() * cell.tanh()
            outputs.append(hidden)
        steps = outputs
    predicted: Tensor = layer.predictor_projection(torch.stack(steps))
    return predicted


def test_the_prediction_network_is_an_lstm_over_embeddings_where_the_blank_is_zero() -> None:
    layer, tokens = head(), [BLANK, 2, 2, 0, 4]
    found, _ = layer.predict(torch.tensor([tokens]))
    assert torch.allclose(found[0], lstm_reference(layer, tokens), rtol=1e-9)


def test_the_row_of_the_blank_is_not_trained() -> None:
    layer = head()
    layer.predict(torch.tensor([[BLANK, 1]]))[0].sum().backward()
    assert layer.embedding.weight.grad is not None
    assert not layer.embedding.weight[BLANK].any()
    assert not layer.embedding.weight.grad[BLANK].any()
    assert layer.embedding.weight.grad[1].any()


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_the_joint_scores_every_pair_on_its_own(activation: Literal["relu", "tanh"]) -> None:
    layer = head(activation=activation, durations=(0, 1, 2))
    projected = layer.project(torch.randn(2, 3, 4).double())
    predicted, _ = layer.predict(torch.tensor([[BLANK, 1], [BLANK, 0]]))
    found = layer.joint(projected, predicted)
    assert found.shape == (2, 3, 2, VOCAB + 1 + 3)
    act = torch.relu if activation == "relu" else torch.tanh
    for step in range(3):
        for token in range(2):
            expected = layer.out(act(projected[1, step] + predicted[1, token]))
            assert torch.allclose(found[1, step, token], expected, rtol=1e-9)
    log_probs = layer.log_probs(projected, predicted)
    assert torch.allclose(log_probs[..., :6], found[..., :6].log_softmax(-1))
    assert torch.allclose(log_probs[..., 6:], found[..., 6:].log_softmax(-1))


def test_predicting_token_by_token_is_predicting_all_at_once() -> None:
    layer, tokens = head(), torch.tensor([[BLANK, 2, 0], [BLANK, 4, 4]])
    expected, last = layer.predict(tokens)
    state, found = None, []
    for position in range(3):
        step, state = layer.predict(tokens[:, position : position + 1], state)
        found.append(step)
    assert torch.allclose(torch.cat(found, 1), expected, rtol=1e-9)
    assert isinstance(state, tuple)
    assert isinstance(last, tuple)
    for one, other in zip(state, last, strict=True):
        assert isinstance(one, Tensor)
        assert isinstance(other, Tensor)
        assert torch.allclose(one, other, rtol=1e-9)


def test_a_state_has_the_batch_first_so_that_entries_can_be_chosen() -> None:
    layer, chosen = head(), torch.tensor([2, 0, 0, 1])
    _, state = layer.predict(torch.tensor([[BLANK, 1], [BLANK, 2], [BLANK, 3]]))
    tokens = torch.tensor([[0], [1], [2]])
    expected, _ = layer.predict(tokens, state)
    found, _ = layer.predict(tokens[chosen], select_state(state, chosen))
    assert torch.allclose(found, expected[chosen], rtol=1e-9)


def test_logits_are_fp32_even_of_half_precision_weights() -> None:
    layer = head().bfloat16()
    predicted, _ = layer.predict(torch.tensor([[BLANK]]))
    assert predicted.dtype == torch.bfloat16
    projected = layer.project(torch.randn(1, 2, 4).bfloat16())
    assert layer.joint(projected, predicted).dtype == torch.float32


def test_dropout_acts_on_both_sides_of_the_joint_in_train_mode_only() -> None:
    layer, tokens = head(dropout=0.5, layers=1), torch.tensor([[BLANK, 1]])
    steps = torch.randn(1, 8, 4).double()
    assert (layer.project(steps) == 0).any()
    assert (layer.predict(tokens)[0] == 0).any()
    layer.eval()
    assert not (layer.project(steps) == 0).any()
    assert torch.equal(layer.predict(tokens)[0], layer.predict(tokens)[0])


def test_the_prediction_network_forgets_nothing_at_first() -> None:
    lstm = head().lstm
    for number in range(2):
        _, _, bias_in, bias_out = lstm.all_weights[number]
        assert torch.equal(bias_in[6:12], torch.ones(6).double())
        assert not bias_out[6:12].any()
        assert bias_in[:6].any()
