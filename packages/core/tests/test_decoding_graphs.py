"""The transducer loop as a CUDA graph against the same loop run operation by operation."""

import copy

import pytest
import torch
from jaxtyping import Float, Int
from torch import Tensor

from asr_lab.decoding import transducer_greedy
from asr_lab.decoding.transducer_graph import bucket, graph_support
from asr_lab.models.base import DecodingOptions, EncoderOutput, Hypothesis, State
from asr_lab.testing.transducers import RandomTransducer, random_encoding, transducer_reference

GRAPHS, EAGER = DecodingOptions(), DecodingOptions(cuda_graphs=False)
SHAPES = [[9, 30, 0, 17], [30, 2, 11, 29], [1], [0, 0], [64] * 7, [5, 30, 12, 8]]


def on_gpu(lengths: list[int], seed: int) -> EncoderOutput:
    return EncoderOutput(random_encoding(lengths, seed).sequences.to("cuda"))


def assert_same(found: list[Hypothesis], expected: list[Hypothesis]) -> None:
    assert [one.tokens for one in found] == [one.tokens for one in expected]
    assert [one.times for one in found] == [one.times for one in expected]
    assert [one.ends for one in found] == [one.ends for one in expected]
    assert [o.score for o in found] == pytest.approx(
        [o.score for o in expected], rel=1e-4, abs=1e-4
    )


def test_buckets_are_few_and_waste_a_quarter_at_most() -> None:
    assert all(size <= bucket(size) <= 1.25 * size for size in range(1, 5000))
    assert len({bucket(size) for size in range(1, 4097)}) < 60
    assert [bucket(bucket(size)) for size in range(99)] == [bucket(size) for size in range(99)]


def test_without_a_gpu_the_reason_is_told_and_the_loop_runs_without_a_graph() -> None:
    assert graph_support(torch.device("cpu")).reason.startswith("CUDA graphs need a CUDA device")
    decoder, encoded = RandomTransducer(4, 0), random_encoding([9, 4], 0)
    assert transducer_greedy(decoder, encoded, GRAPHS) == transducer_greedy(decoder, encoded, EAGER)


@pytest.mark.gpu
@pytest.mark.parametrize("durations", [(), (0, 1, 2, 3, 4)])
@pytest.mark.parametrize("bias", [0.0, 6.0])
def test_a_graph_finds_what_the_plain_loop_finds(durations: tuple[int, ...], bias: float) -> None:
    decoder = RandomTransducer(4, 7, durations, bias).cuda()
    for seed, lengths in enumerate(SHAPES):
        encoded = on_gpu(lengths, seed)
        found = transducer_greedy(decoder, encoded, GRAPHS)
        assert_same(found, transducer_greedy(decoder, encoded, EAGER))
        for one, values, length in zip(found, encoded.sequences.values, lengths, strict=True):
            assert_same([one], [transducer_reference(decoder, values[:length], 10)])


@pytest.mark.gpu
def test_a_graph_sees_weights_that_were_changed_or_moved() -> None:
    decoder, encoded = RandomTransducer(4, 1).cuda(), on_gpu([30, 12], 1)
    first = transducer_greedy(decoder, encoded, GRAPHS)
    with torch.no_grad():
        decoder.output.weight.neg_()
    second = transducer_greedy(decoder, encoded, GRAPHS)
    assert second != first
    assert_same(second, transducer_greedy(decoder, encoded, EAGER))
    decoder.cpu()
    decoder.cuda()
    assert_same(transducer_greedy(decoder, encoded, GRAPHS), second)


@pytest.mark.gpu
def test_a_decoder_with_graphs_can_be_copied() -> None:
    decoder, encoded = RandomTransducer(4, 1).cuda(), on_gpu([30, 12], 1)
    first = transducer_greedy(decoder, encoded, GRAPHS)
    other = copy.deepcopy(decoder)
    other.lstm.flatten_parameters()  # a copy's weights lie apart, of which cuDNN warns
    assert_same(transducer_greedy(other, encoded, GRAPHS), first)


@pytest.mark.gpu
def test_a_graph_under_autocast_is_not_mixed_up_with_one_without() -> None:
    decoder, encoded = RandomTransducer(4, 2, (0, 1, 2)).cuda().float(), on_gpu([40, 25], 2)
    values = encoded.sequences.values.float()
    encoded = EncoderOutput(type(encoded.sequences)(values, encoded.sequences.lengths))
    for _ in range(2):
        for enabled in (False, True):
            with torch.autocast("cuda", torch.bfloat16, enabled=enabled):
                found = transducer_greedy(decoder, encoded, GRAPHS)
                assert_same(found, transducer_greedy(decoder, encoded, EAGER))


class Waiting(RandomTransducer):
    """Reads a number from the device in the loop, which no graph can."""

    def predict(
        self, tokens: Int[Tensor, "batch tokens"], state: State
    ) -> tuple[Float[Tensor, "batch tokens hidden"], State]:
        """Wait for the device, then predict."""
        assert int(tokens.max()) >= 0
        return super().predict(tokens, state)


@pytest.mark.gpu
def test_a_decoder_that_cannot_be_captured_is_searched_without_a_graph_after_one_warning() -> None:
    decoder, encoded = Waiting(4, 3).cuda(), on_gpu([20, 6], 3)
    with pytest.warns(UserWarning, match="Waiting is searched without a CUDA graph"):
        found = transducer_greedy(decoder, encoded, GRAPHS)
    assert_same(found, transducer_greedy(decoder, encoded, EAGER))
    assert transducer_greedy(decoder, encoded, GRAPHS) == found
    other = RandomTransducer(4, 3).cuda()
    assert_same(transducer_greedy(other, encoded, GRAPHS), found)
