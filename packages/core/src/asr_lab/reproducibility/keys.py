"""Random keys and orders as pure functions of a seed and a purpose; torch-free."""

import hashlib
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy


def derive_key(seed: int, *purpose: int | str) -> int:
    """Return a signed 64-bit key: BLAKE2b over the canonical JSON of `seed` and `purpose`.

    The same arguments give the same key everywhere and always; `1` and `"1"` differ, and so do
    `("ab",)` and `("a", "b")`.
    """
    text = json.dumps([seed, *purpose], separators=(",", ":"))
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def shuffled(count: int, seed: int, *purpose: int | str) -> "numpy.ndarray":
    """Return the numbers from 0 to count - 1 in a random order, as int64.

    The order is the argsort of Philox's raw bits, which, unlike numpy's own `permutation`, is the
    same in every release of numpy.
    """
    import numpy

    bits = numpy.random.Philox(key=derive_key(seed, "order", *purpose) % 2**64).random_raw(count)
    return numpy.argsort(bits, kind="stable").astype(numpy.int64)
