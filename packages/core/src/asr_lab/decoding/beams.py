"""What the beam searches share: keys of prefixes, merging of equal ones, and the way back."""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

FIRST, SECOND = -7046029254386353131, -4658895280553007687
"""Odd multipliers that spread bits, those of the hash splitmix64, as signed numbers."""


def extend_key(key: Int64[Tensor, "*any"], token: Int64[Tensor, "*any"]) -> Int64[Tensor, "*any"]:
    """Return the key of a prefix and one more token; of different prefixes, keys differ.

    They are hashes of 64 bits: of a million prefixes, two agree once in 40 million searches.
    """
    mixed = (key ^ (token + 1)) * FIRST
    return (mixed ^ (mixed >> 29)) * SECOND + 1


def merge(
    scores: Float[Tensor, "batch places"], same: Bool[Tensor, "batch places places"]
) -> Float[Tensor, "batch places"]:
    """Add the probabilities of equal places to the best of them, and empty the others.

    `scores` must fall from place to place; `same` says which places are equal.
    """
    places = scores.shape[1]
    alive = scores > -torch.inf
    same = same & alive[:, :, None] & alive[:, None, :]
    first = same.long().argmax(2) == torch.arange(places, device=scores.device)
    kept = alive & first
    sums = torch.where(same, scores[:, None, :], -torch.inf).logsumexp(2)
    return torch.where(kept, sums, -torch.inf)


def equal(*values: Int64[Tensor, "batch places"]) -> Bool[Tensor, "batch places places"]:
    """Return which places agree in all values."""
    pairs = [value[:, :, None] == value[:, None, :] for value in values]
    return torch.stack(pairs).all(0)


class Trail:
    """Where each place of a beam came from, round after round."""

    def __init__(self) -> None:
        """Start without rounds."""
        self._rounds: list[Int64[Tensor, "4 batch beam"]] = []

    def __len__(self) -> int:
        """Return the number of rounds."""
        return len(self._rounds)

    def add(
        self,
        parents: Int64[Tensor, "batch beam"],
        tokens: Int64[Tensor, "batch beam"],
        starts: Int64[Tensor, "batch beam"],
        ends: Int64[Tensor, "batch beam"],
    ) -> None:
        """Note a round: the place before, the token that was added or -1, and when it was said."""
        self._rounds.append(torch.stack([parents, tokens, starts, ends]))

    def back(self, rounds: list[int], places: list[int]) -> list[list[tuple[int, int, int]]]:
        """Return tokens, starts and ends of what lay in a place after a number of rounds."""
        if not self._rounds:
            return [[] for _ in places]
        table = torch.stack(self._rounds).cpu().numpy()
        found = []
        for entry, (count, place) in enumerate(zip(rounds, places, strict=True)):
            said = []
            for one in range(count - 1, -1, -1):
                parent, token, start, end = table[one, :, entry, place].tolist()
                if token >= 0:
                    said.append((token, start, end))
                place = parent
            found.append(said[::-1])
        return found
