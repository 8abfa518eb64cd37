"""What a transducer's loss is of: its scores, its activation and the edges of its lattice."""

from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

Activation: TypeAlias = Literal["relu", "tanh"]


class Edge(NamedTuple):
    """A way from one cell of the lattice to another: `steps` on, and `tokens` on."""

    steps: int
    tokens: int
    """0 for a blank, 1 for a token."""
    duration: int
    """Index of the duration's score; -1 in an RNN-T, whose edges have no choice."""


@dataclass(frozen=True, kw_only=True)
class TransducerSettings:
    """Settings of one loss; `durations` empty is an RNN-T."""

    blank_id: int
    """Index of the blank's score: the last of the tokens' scores, before those of durations."""
    activation: Activation = "relu"
    durations: tuple[int, ...] = ()
    """Durations in encoder steps, in the order of their scores."""
    sigma: float = 0.0
    """What is taken off the log probability of every emission, blanks too, in nats."""
    fast_emit: float = 0.0
    """How much larger the gradient through tokens is than that through blanks."""
    gradient_bound: float = 0.0
    """Part of the gradient that may be left out (`transducer_sparse`); 0 for none."""

    def __post_init__(self) -> None:
        """Refuse durations of which no lattice can be made."""
        durations = self.durations
        if durations and (min(durations) < 0 or max(durations) < 1):
            message = f"durations must be 0 or more and one above 0; found {durations}"
            raise ValueError(message)
        if not 0 <= self.gradient_bound < 1:
            found = self.gradient_bound
            raise ValueError(f"gradient_bound must be from 0 to below 1; found {found}")
        if len(set(durations)) < len(durations):
            raise ValueError(f"durations must differ; found {durations}")

    @property
    def scores(self) -> int:
        """Return how many scores the joint has."""
        return self.blank_id + 1 + len(self.durations)

    @property
    def edges(self) -> tuple[Edge, ...]:
        """Return the edges that leave a cell; a blank always takes at least one step."""
        if not self.durations:
            return (Edge(1, 0, -1), Edge(0, 1, -1))
        choices = list(enumerate(self.durations))
        blanks = [Edge(steps, 0, index) for index, steps in choices if steps]
        return (*blanks, *(Edge(steps, 1, index) for index, steps in choices))
