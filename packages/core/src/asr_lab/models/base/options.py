"""How to turn scores into text; torch-free, because the command line makes flags of it."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class DecodingOptions:
    """Options of the search; what a decoder has no use for is ignored."""

    decoder: str = ""
    """Decoder to use, by name; empty for the model's primary one."""
    beam: int = 1
    """Number of hypotheses kept; 1 is greedy search."""
    max_tokens: int = 448
    """Most tokens that an attention decoder may emit for one utterance."""
    length_penalty: float = 0.6
    """Exponent of the length by which beam scores are divided."""
    max_symbols: int = 10
    """Most tokens that a transducer may emit at one encoder step."""

    def __post_init__(self) -> None:
        """Refuse values that make no search."""
        if self.beam < 1:
            raise ValueError(f"beam must be 1 (greedy) or more; got {self.beam}")
        if self.max_tokens < 1:
            raise ValueError(f"max-tokens must be 1 or more; got {self.max_tokens}")
        if self.max_symbols < 1:
            raise ValueError(f"max-symbols must be 1 or more; got {self.max_symbols}")
