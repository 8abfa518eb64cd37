"""What must hold of the probabilities of a transducer's edges: conservation, counts and slopes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from asr_lab.losses.transducer_lattice import edge_scores, log_likelihood, posteriors
from asr_lab.losses.transducer_settings import TransducerSettings

BLANK = 3
EXACT = 1e-12
"""Sums of fewer than a hundred float64 numbers of at most 1."""
KINDS = {"rnnt": (), "tdt": (0, 1, 2, 4), "tdt never 0": (1, 2), "tdt unordered": (2, 0, 1)}
shapes = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 3)), min_size=1, max_size=4)


class Lattice:
    """Random scores of a few utterances of (steps, tokens), and what is computed of them."""

    def __init__(
        self,
        sizes: list[tuple[int, int]],
        durations: tuple[int, ...],
        seed: int,
        sigma: float = 0.0,
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.lengths = torch.tensor([steps for steps, _ in sizes])
        self.token_lengths = torch.tensor([count for _, count in sizes])
        shape = (len(sizes), max(int(self.lengths.max()), 1), int(self.token_lengths.max()) + 1)
        self.settings = TransducerSettings(blank_id=BLANK, durations=durations, sigma=sigma)
        scores = torch.randn(*shape, self.settings.scores, generator=generator, dtype=torch.float64)
        labels = scores[..., : BLANK + 1].log_softmax(-1)
        lasting = scores[..., BLANK + 1 :].log_softmax(-1).movedim(-1, 0)
        self.edges = edge_scores(
            labels[..., BLANK],
            labels[..., 0],
            lasting,
            self.lengths,
            self.token_lengths,
            self.settings,
        )

    def posteriors(self) -> tuple[Tensor, Tensor]:
        return posteriors(self.edges, self.lengths, self.token_lengths, self.settings)

    def log_likelihood(self, edges: Tensor) -> Tensor:
        return log_likelihood(edges, self.lengths, self.token_lengths, self.settings)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40)
@given(sizes=shapes, seed=st.integers(0, 10**6))
def test_what_arrives_at_a_cell_leaves_it(
    kind: str, sizes: list[tuple[int, int]], seed: int
) -> None:
    lattice = Lattice(sizes, KINDS[kind], seed)
    total, taken = lattice.posteriors()
    _, batch, steps, positions = taken.shape
    arriving = torch.zeros(batch, steps + 5, positions + 1, dtype=torch.float64)
    arriving[total > -torch.inf, 0, 0] = 1
    for plane, edge in zip(taken, lattice.settings.edges, strict=True):
        to = (slice(edge.steps, edge.steps + steps), slice(edge.tokens, edge.tokens + positions))
        arriving[:, to[0], to[1]] += plane
    leaving = taken.sum(0)
    for row, (length, count) in enumerate(sizes):
        inside = arriving[row, :length, : count + 1]
        assert torch.allclose(inside, leaving[row, :length, : count + 1], rtol=0, atol=EXACT)
        ended = float(length > 0 and total[row] > -torch.inf)
        assert float(arriving[row, length, count]) == pytest.approx(ended, abs=EXACT)


@settings(max_examples=40)
@given(sizes=shapes, seed=st.integers(0, 10**6))
def test_an_rnnt_leaves_every_step_once_and_says_every_token_once(
    sizes: list[tuple[int, int]], seed: int
) -> None:
    _, (blank, token) = Lattice(sizes, (), seed).posteriors()
    for row, (length, count) in enumerate(sizes):
        spoken = min(length, 1)  # without steps nothing is said
        by_step = blank[row].sum(1)
        by_token = token[row].sum(0)
        once = (torch.arange(len(by_step)) < length).double()
        said = (torch.arange(len(by_token)) < count).double() * spoken
        assert torch.allclose(by_step, once, rtol=0, atol=EXACT)
        assert torch.allclose(by_token, said, rtol=0, atol=EXACT)


@pytest.mark.parametrize("kind", ["tdt", "tdt never 0", "tdt unordered"])
@settings(max_examples=40)
@given(sizes=shapes, seed=st.integers(0, 10**6))
def test_expected_durations_add_up_to_the_length_and_tokens_to_the_text(
    kind: str, sizes: list[tuple[int, int]], seed: int
) -> None:
    lattice = Lattice(sizes, KINDS[kind], seed)
    total, taken = lattice.posteriors()
    by_edge = taken.sum((2, 3))
    steps = torch.tensor([edge.steps for edge in lattice.settings.edges]).double()
    tokens = torch.tensor([edge.tokens for edge in lattice.settings.edges]).double()
    possible = (total > -torch.inf).double()
    assert torch.allclose(steps @ by_edge, lattice.lengths * possible, rtol=0, atol=10 * EXACT)
    assert torch.allclose(tokens @ by_edge, lattice.token_lengths * possible, atol=10 * EXACT)


@pytest.mark.parametrize("kind", KINDS)
def test_the_probability_of_an_edge_is_the_slope_of_the_log_likelihood(kind: str) -> None:
    lattice = Lattice([(4, 2), (3, 1)], KINDS[kind], 7)
    _, taken = lattice.posteriors()
    # Central differences err by width^2 / 6 times a third derivative below 1: 2e-9.
    width, tolerance = 1e-4, 1e-8
    open_edges = (lattice.edges > -torch.inf).nonzero().tolist()
    assert len(open_edges) > 20
    for place in map(tuple, open_edges):
        nudged = torch.zeros_like(lattice.edges)
        nudged[place] = width
        above, below = (lattice.log_likelihood(lattice.edges + s * nudged) for s in (1, -1))
        slope = float((above - below).sum()) / (2 * width)
        assert slope == pytest.approx(float(taken[place]), abs=tolerance)


@pytest.mark.parametrize("kind", KINDS)
@given(sizes=shapes, seed=st.integers(0, 10**6))
@settings(max_examples=25)
def test_the_log_likelihood_does_not_depend_on_whether_gradients_are_wanted(
    kind: str, sizes: list[tuple[int, int]], seed: int
) -> None:
    lattice = Lattice(sizes, KINDS[kind], seed)
    total, taken = lattice.posteriors()
    assert torch.equal(lattice.log_likelihood(lattice.edges), total)
    assert not taken.isnan().any()
    assert taken.min() >= 0 and taken.max() < 1 + EXACT


@settings(max_examples=25)
@given(steps=st.integers(1, 6), count=st.integers(0, 3), sigma=st.floats(0, 1))
def test_sigma_is_taken_off_once_for_each_emission(steps: int, count: int, sigma: float) -> None:
    # An RNN-T has a blank for each step and a token for each token, whatever the path.
    plain, less = (Lattice([(steps, count)], (), 3, s) for s in (0.0, sigma))
    gap = float(plain.posteriors()[0] - less.posteriors()[0])
    assert gap == pytest.approx(sigma * (steps + count), abs=1e-12)
    # With a single duration of 1 there are as many emissions as steps.
    if count < steps:
        plain, less = (Lattice([(steps, count)], (1,), 3, s) for s in (0.0, sigma))
        gap = float(plain.posteriors()[0] - less.posteriors()[0])
        assert gap == pytest.approx(sigma * steps, abs=1e-12)


@pytest.mark.parametrize(
    ("durations", "steps", "count", "possible"),
    [
        ((), 1, 9, True),  # an RNN-T says any text at one step
        ((1,), 3, 2, True),  # two tokens and the last blank
        ((1,), 3, 3, False),  # the last emission must be a blank
        ((1, 2), 3, 3, False),
        ((0, 1), 1, 9, True),
        ((2,), 4, 1, True),
        ((2,), 3, 0, False),  # three is no sum of twos
        ((2, 3), 1, 0, False),  # every blank passes the end
        ((0, 3), 3, 5, True),
    ],
)
def test_a_text_has_a_path_exactly_if_the_durations_can_add_up(
    durations: tuple[int, ...], steps: int, count: int, possible: bool
) -> None:
    total, taken = Lattice([(steps, count)], durations, 0).posteriors()
    assert bool(total > -torch.inf) is possible
    assert bool(taken.any()) is possible
