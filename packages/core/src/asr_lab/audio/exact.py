"""Batched arithmetic that is exact to FP32 whatever switches are set, and lengths of transforms."""

from jaxtyping import Float32
from torch import Tensor


def exact_product(
    values: Float32[Tensor, "batch frames inner"], matrix: Float32[Tensor, "inner outer"]
) -> Float32[Tensor, "batch frames outer"]:
    """Multiply; in double precision on a GPU, where a switch may shorten FP32 to TF32."""
    if values.is_cuda:
        return (values.double() @ matrix.double()).float()
    return values @ matrix


def transform_length(samples: int) -> int:
    """Return 1, 3, 5, 9 or 15 times a power of two, not below `samples`: fast to transform."""
    lengths = (odd << max(-(-samples // odd) - 1, 0).bit_length() for odd in (1, 3, 5, 9, 15))
    return min(lengths)
