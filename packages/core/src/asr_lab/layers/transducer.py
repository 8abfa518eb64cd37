"""The transducer: what turns pairs of encoder steps and token histories into scores."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils import _pytree as pytree

from asr_lab.models.base.interfaces import TransducerDecoder
from asr_lab.models.base.state import State


class TransducerHead(TransducerDecoder):
    """A prediction network of LSTMs, and a joint network (Graves 2012, arXiv 1211.3711).

    Sizes and parts as NeMo's RNNTDecoder and RNNTJoint have them, and the Parakeet transducers of
    transformers. With `durations` it is a token-and-duration transducer (Xu et al. 2023, arXiv
    2304.06795): a score for each duration stands behind that of the blank.

    In train mode dropout acts on the LSTM's output and on both sides of the joint, in `project`
    and `predict`. NeMo drops behind the joint's activation instead, where a loss that never holds
    all pairs at once cannot.
    """

    def __init__(
        self,
        dim: int,
        vocab: int,
        *,
        predictor_dim: int,
        predictor_layers: int = 1,
        joint_dim: int,
        activation: Literal["relu", "tanh"] = "relu",
        durations: tuple[int, ...] = (),
        dropout: float = 0.0,
    ) -> None:
        """Build for an encoder of `dim` channels and `vocab` tokens, the blank not counted."""
        super().__init__()
        self.blank_id, self.durations, self.activation = vocab, durations, activation
        # The blank is no token: its row is zero and stays so.
        self.embedding = nn.Embedding(vocab + 1, predictor_dim, padding_idx=vocab)
        between = dropout if predictor_layers > 1 else 0.0
        self.lstm = nn.LSTM(
            predictor_dim, predictor_dim, predictor_layers, batch_first=True, dropout=between
        )
        self.predictor_projection = nn.Linear(predictor_dim, joint_dim)
        self.encoder_projection = nn.Linear(dim, joint_dim)
        self.out = nn.Linear(joint_dim, vocab + 1 + len(durations))
        self.dropout = nn.Dropout(dropout)
        with torch.no_grad():  # forget nothing at first, as NeMo does (Jozefowicz et al. 2015)
            for layer in range(predictor_layers):
                forget = slice(predictor_dim, 2 * predictor_dim)
                getattr(self.lstm, f"bias_ih_l{layer}")[forget] = 1.0
                getattr(self.lstm, f"bias_hh_l{layer}")[forget] = 0.0

    def project(
        self, encoder_steps: Float[Tensor, "batch steps dim"]
    ) -> Float[Tensor, "batch steps hidden"]:
        """Return the encoder's part of the joint, before its activation."""
        projected: Tensor = self.dropout(self.encoder_projection(encoder_steps))
        return projected

    def predict(
        self, tokens: Int[Tensor, "batch tokens"], state: State = None
    ) -> tuple[Float[Tensor, "batch tokens hidden"], State]:
        """Return the prediction network's part of the joint after each token, and the new state.

        `state` is None at the start, where the first token is the blank. A state is hidden and
        cell values, each `[batch, layers, dim]`.
        """
        values, after = self.lstm(self.embedding(tokens), swap_layers(state))
        return self.dropout(self.predictor_projection(self.dropout(values))), swap_layers(after)

    def joint(
        self,
        projected: Float[Tensor, "batch steps hidden"],
        predicted: Float[Tensor, "batch tokens hidden"],
    ) -> Float[Tensor, "batch steps tokens scores"]:
        """Return logits of every pair, in FP32 or better: tokens, blank, then durations."""
        activate = torch.relu if self.activation == "relu" else torch.tanh
        logits: Tensor = self.out(activate(projected[:, :, None] + predicted[:, None]))
        return logits.to(torch.promote_types(logits.dtype, torch.float32))

    def log_probs(
        self,
        projected: Float[Tensor, "batch steps hidden"],
        predicted: Float[Tensor, "batch tokens hidden"],
    ) -> Float[Tensor, "batch steps tokens scores"]:
        """Return `joint` as log probabilities: of tokens and blank, and apart, of durations."""
        logits = self.joint(projected, predicted)
        tokens, durations = logits.split([self.blank_id + 1, len(self.durations)], -1)
        return torch.cat([F.log_softmax(tokens, -1), F.log_softmax(durations, -1)], -1)


def swap_layers(state: State) -> State:
    """Return the state of an LSTM, which puts layers first, with the batch first, or back."""
    swapped: State = pytree.tree_map_only(
        Tensor, lambda part: part.transpose(0, 1).contiguous(), state
    )
    return swapped
