"""The position-wise layers between others."""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class FeedForward(nn.Module):
    """Two linear layers with an activation between them."""

    def __init__(
        self,
        dim: int,
        factor: int,
        *,
        dropout: float,
        activation: Callable[[Tensor], Tensor] = F.silu,
        bias: bool = True,
    ) -> None:
        """Build with `factor * dim` hidden channels."""
        super().__init__()
        self.inner = nn.Linear(dim, factor * dim, bias=bias)
        self.outer = nn.Linear(factor * dim, dim, bias=bias)
        self.dropout = nn.Dropout(dropout)
        self.activation = activation

    def forward(self, values: Float[Tensor, "batch steps dim"]) -> Float[Tensor, "batch steps dim"]:
        """Transform every step on its own."""
        result: Tensor = self.outer(self.dropout(self.activation(self.inner(values))))
        return result
