"""What turns encoder steps into scores."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from asr_lab.models.base.interfaces import CTCDecoder
from asr_lab.models.base.outputs import EncoderOutput


class CTCHead(CTCDecoder):
    """A linear layer over the tokens and the blank."""

    def __init__(self, dim: int, vocab: int) -> None:
        """Build with `vocab + 1` scores, the blank last."""
        super().__init__()
        self.linear = nn.Linear(dim, vocab + 1)

    def logits(self, encoder_output: EncoderOutput) -> Float[Tensor, "batch steps scores"]:
        """Return scores that are not normalised, as the loss takes them."""
        scores: Tensor = self.linear(encoder_output.sequences.values)
        return scores

    def log_probs(self, encoder_output: EncoderOutput) -> Float[Tensor, "batch steps scores"]:
        """Return log probabilities in FP32 or better."""
        scores = self.logits(encoder_output)
        return scores.to(torch.promote_types(scores.dtype, torch.float32)).log_softmax(-1)
