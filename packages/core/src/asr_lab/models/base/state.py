"""State that encoders and decoders carry from one call to the next."""

from collections.abc import Mapping
from typing import TypeAlias

from jaxtyping import Int
from torch import Tensor
from torch.utils import _pytree as pytree

State: TypeAlias = Tensor | tuple[object, ...] | list[object] | Mapping[str, object] | None
"""A tree of tensors; the first axis of every tensor is the batch."""


def select_state(state: State, indices: Int[Tensor, " chosen"]) -> State:
    """Return the state of the chosen batch entries, in that order; entries may repeat."""
    chosen: State = pytree.tree_map_only(Tensor, lambda t: t.index_select(0, indices), state)
    return chosen


def put_state(state: State, indices: Int[Tensor, " chosen"], chosen: State) -> State:
    """Return `state` with the batch entries of that order replaced by those of `chosen`."""

    def put(before: object, after: object) -> object:
        if isinstance(before, Tensor) and isinstance(after, Tensor):
            return before.index_copy(0, indices, after)
        return before

    replaced: State = pytree.tree_map(put, state, chosen)
    return replaced
