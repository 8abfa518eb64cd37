"""A stream's steps are those of the whole utterance under the same masks, however it arrives."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils import _pytree as pytree

from asr_lab.models.base import Sequences, State, select_state
from asr_lab.models.conformer import ConformerASRModel, ConformerConfig
from asr_lab.models.conformer.model import ConformerEncoder
from asr_lab.testing import ModelContract
from asr_lab.utils.errors import UserError

TOLERANCE = 1e-5
"""Largest absolute difference that the order of sums in FP32 may make; outputs are about 1."""
TINY = ConformerConfig(
    vocab=11,
    features="nemo_plain",
    mels=16,
    dim=32,
    layers=3,
    heads=2,
    feedforward=2,
    subsampling_channels=8,
    attention="chunked",
    left_context=9,
    causal_convolution=True,
    predictor_dim=24,
    joint_dim=32,
    dropout=0.0,
)
KINDS: dict[str, dict[str, object]] = {
    "rotary": {},
    "causal subsampling": {"causal_subsampling": True},
    "relative": {"positions": "relative", "norm": "batch", "scale_input": True},
    "relative, causal by 4": {
        "positions": "relative",
        "causal_subsampling": True,
        "subsampling": 4,
        "kernel": 5,
    },
    "no past": {"left_context": 0, "kernel": 1},
}


class TestStreamingConformer(ModelContract):
    model = "conformer"
    overrides = {
        "attention": "chunked",
        "left_context": 5,
        "chunk": 3,
        "causal_convolution": True,
        "causal_subsampling": True,
        "dim": 32,
        "layers": 2,
        "heads": 2,
        "subsampling": 8,
        "subsampling_channels": 8,
    }


class TestStreamingConformerAsNeMoHasIt(ModelContract):
    model = "conformer"
    overrides = {
        **TestStreamingConformer.overrides,
        "positions": "relative",
        "head": "rnnt",
        "predictor_dim": 24,
        "joint_dim": 32,
    }


def encoder(**changes: object) -> ConformerEncoder:
    """Return a small random encoder whose weights and statistics are far from their start."""
    torch.manual_seed(0)
    model = ConformerASRModel(replace(TINY, **changes)).eval()  # type: ignore[arg-type]
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if "bias" in name or "running_mean" in name:
                tensor.normal_(0, 0.3)
            elif "running_var" in name:
                tensor.uniform_(0.5, 2)
    assert isinstance(model.encoder, ConformerEncoder)
    return model.encoder


def utterance(frames: int, seed: int = 0) -> Tensor:
    return torch.randn(frames, TINY.mels, generator=torch.Generator().manual_seed(seed))


def together(rows: Sequence[Tensor]) -> Sequences:
    """Return a padded batch with NaN as padding."""
    return Sequences(
        torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True, padding_value=torch.nan),
        torch.tensor([len(row) for row in rows]),
    )


def rows_of(sequences: Sequences) -> list[Tensor]:
    return [row[:n] for row, n in zip(sequences.values, sequences.lengths.tolist(), strict=True)]


@torch.inference_mode()
def offline(model: ConformerEncoder, features: Tensor) -> Tensor:
    return rows_of(model(together([features])).sequences)[0]


@torch.inference_mode()
def online(
    model: ConformerEncoder, features: Sequence[Tensor], cuts: Sequence[Sequence[int]]
) -> list[Tensor]:
    """Stream a batch, each utterance in pieces of its own lengths (again and again)."""
    state = model.initial_state(len(features))
    found: list[list[Tensor]] = [[] for _ in features]
    places, ended, turn = [0] * len(features), [False] * len(features), 0
    while not all(ended):
        pieces, ends = [], []
        for row, (whole, sizes) in enumerate(zip(features, cuts, strict=True)):
            size = sizes[turn % len(sizes)]
            pieces.append(whole[places[row] : places[row] + size])
            places[row] += size
            ends.append(places[row] >= len(whole) and not ended[row])
        if any(ends):
            state = model.end(state, torch.tensor(ends))
            ended = [one or other for one, other in zip(ended, ends, strict=True)]
        output = model(together(pieces), state)
        state = output.state
        for before, now in zip(found, rows_of(output.sequences), strict=True):
            before.append(now)
        turn += 1
    return [torch.cat(steps) for steps in found]


def close(found: Tensor, expected: Tensor) -> bool:
    assert found.shape == expected.shape
    return torch.allclose(found, expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("chunk", [1, 2, 7, 16])
@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_equals_the_whole_under_the_same_masks(kind: str, chunk: int) -> None:
    model = encoder(**KINDS[kind], chunk=chunk)
    for frames, sizes in ((301, [13]), (256, [1, 64]), (97, [500])):
        features = utterance(frames)
        (found,) = online(model, [features], [sizes])
        assert close(found, offline(model, features))


@pytest.mark.parametrize("causal", [False, True])
def test_a_stream_may_end_anywhere(causal: bool) -> None:
    model = encoder(chunk=2, causal_subsampling=causal)
    for frames in range(0, 50, 1 if causal else 2):
        features = utterance(frames)
        (found,) = online(model, [features], [[11]])
        assert close(found, offline(model, features))


@settings(max_examples=20, deadline=None)
@given(
    st.sampled_from(sorted(KINDS)),
    st.sampled_from([1, 2, 7, 16]),
    st.lists(
        st.tuples(
            st.integers(0, 200),
            st.lists(st.one_of(st.just(1), st.integers(0, 70)), min_size=1, max_size=4),
        ),
        min_size=1,
        max_size=4,
    ),
)
def test_streams_at_different_places_do_not_disturb_each_other(
    kind: str, chunk: int, streams: list[tuple[int, list[int]]]
) -> None:
    model = encoder(**KINDS[kind], chunk=chunk)
    features = [utterance(frames, seed) for seed, (frames, _) in enumerate(streams)]
    cuts = [sizes if max(sizes) > 3 else [*sizes, 20] for _, sizes in streams]
    for steps, whole in zip(online(model, features, cuts), features, strict=True):
        assert close(steps, offline(model, whole))


def test_a_padded_batch_encoded_at_once_equals_its_utterances_alone() -> None:
    model = encoder(chunk=7, positions="relative", causal_subsampling=True)
    features = [utterance(frames, frames) for frames in (200, 61, 133)]
    with torch.inference_mode():
        rows = rows_of(model(together(features)).sequences)
    for row, whole in zip(rows, features, strict=True):
        assert close(row, offline(model, whole))


def size_in_bytes(state: State) -> int:
    leaves = pytree.tree_leaves(state)
    return sum(leaf.untyped_storage().nbytes() for leaf in leaves if isinstance(leaf, Tensor))


def test_the_state_is_as_large_after_an_hour_as_at_the_start() -> None:
    model = encoder(chunk=64, left_context=16, dim=8, heads=1, layers=1, subsampling_channels=1)
    state, sizes, steps = model.initial_state(1), set(), 0
    hour, piece = 360_000, utterance(64 * 8 * 8)
    with torch.inference_mode():
        for _ in range(hour // len(piece) + 1):
            output = model(Sequences(piece[None], torch.tensor([len(piece)])), state)
            state, steps = output.state, steps + int(output.sequences.lengths)
            sizes.add(size_in_bytes(state))
    assert steps >= hour // 8 and len(sizes) == 1


def test_how_long_a_stream_has_run_does_not_change_what_is_encoded() -> None:
    model = encoder(chunk=50, left_context=10, layers=2)
    piece = utterance(400)  # longer than what any step sees, through both layers
    state, found = model.initial_state(1), []
    with torch.inference_mode():
        for _ in range(30):
            output = model(Sequences(piece[None], torch.tensor([400])), state)
            state = output.state
            found.append(output.sequences.values[0])
    assert close(found[-1], found[2])


@settings(max_examples=20, deadline=None)
@given(
    st.sampled_from(sorted(KINDS)),
    st.sampled_from([1, 2, 7]),
    st.integers(0, 150),
    st.integers(0, 2**31),
)
def test_a_future_frame_changes_no_step_that_was_given_out(
    kind: str, chunk: int, changed: int, seed: int
) -> None:
    model = encoder(**KINDS[kind], chunk=chunk)
    features = utterance(200, seed)
    other = features.clone()
    other[changed:] = utterance(200 - changed, seed + 1)
    with torch.inference_mode():
        before = model(together([features[:changed]]), model.initial_state(1)).sequences.values[0]
    for whole in (features, other):
        assert close(offline(model, whole)[: len(before)], before)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("chunk", [1, 7])
def test_the_first_step_of_a_chunk_waits_for_its_look_ahead_and_no_longer(
    kind: str, chunk: int
) -> None:
    model = encoder(**KINDS[kind], chunk=chunk)
    factor, features = model.subsampling.factor, utterance(400)
    last = factor * 2 * chunk + model.look_ahead  # of what the third chunk needs
    state = model.initial_state(1)
    with torch.inference_mode():
        early = model(together([features[:last]]), state)
        late = model(together([features[last : last + 1]]), early.state)
    assert early.sequences.lengths.tolist() == [2 * chunk]
    assert late.sequences.lengths.tolist() == [chunk]
    nudged = features.clone()
    nudged[last] += 100
    changed = (offline(model, nudged) - offline(model, features)).abs().amax(-1)
    assert (changed[: 2 * chunk] == 0).all()
    assert changed[2 * chunk] > 0 or kind == "no past"


def test_a_stream_taken_from_a_batch_goes_on_alone() -> None:
    model, features = encoder(chunk=2), [utterance(100, 1), utterance(100, 2)]
    with torch.inference_mode():
        first = model(together([row[:50] for row in features]), model.initial_state(2))
        state = model.end(select_state(first.state, torch.tensor([1])), torch.tensor([True]))
        rest = model(together([features[1][50:]]), state).sequences.values[0]
    assert close(torch.cat([rows_of(first.sequences)[1], rest]), offline(model, features[1]))


def test_only_chunked_attention_with_causal_convolution_streams() -> None:
    assert TINY.streams
    for changes in ({"attention": "local"}, {"attention": "full"}, {"causal_convolution": False}):
        config = replace(TINY, **changes)
        assert not config.streams
        assert ConformerASRModel(config).encoder.initial_state(1) is None


def test_training_draws_the_chunks_of_each_batch_from_its_keyed_randomness() -> None:
    model, features = encoder(chunk=16, chunks=(1, 2, 16)), together([utterance(256)])

    def drawn(seed: int) -> Tensor:
        torch.manual_seed(seed)
        with torch.no_grad():
            return model(features).sequences.values

    whole = {size: encoder(chunk=size).eval()(features).sequences.values for size in (1, 2, 16)}
    assert torch.equal(drawn(0), drawn(1))
    model.train()
    seen = set()
    for seed in range(20):
        assert torch.equal(drawn(seed), drawn(seed))
        seen |= {size for size in whole if close(drawn(seed), whole[size])}
    assert seen == {1, 2, 16}


def test_the_preset_has_the_parameters_and_look_aheads_that_it_claims() -> None:
    config, claim = ConformerConfig.streaming(), str(ConformerConfig.streaming.__doc__)
    with torch.device("meta"):
        model = ConformerASRModel(config)
    count = sum(weight.numel() for weight in model.parameters())
    assert f"1024 tokens {count / 1e6:.2f} M parameters" in claim
    assert config.streams and config.left_context * 80 == 5600
    for chunk, milliseconds in zip(config.chunks, (0, 80, 480, 1040), strict=True):
        with torch.device("meta"):
            encoder = ConformerEncoder(replace(config, chunk=chunk))
        assert encoder.look_ahead * 10 == milliseconds


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"chunk": 0}, "chunks must be of 1 step or more; got 0"),
        ({"chunks": (2, -1)}, "chunks must be of 1 step or more; got -1"),
        ({"chunks": (2,), "attention": "local"}, "chunks need attention chunked; got local"),
    ],
)
def test_chunks_that_cannot_be_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        replace(TINY, **changes)  # type: ignore[arg-type]
