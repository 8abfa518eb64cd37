"""What every configuration of an encoder with a choice of heads has; torch-free."""

from dataclasses import dataclass
from math import inf
from typing import Literal

from asr_lab.models.base.config import ModelConfig
from asr_lab.utils.errors import UserError


@dataclass(frozen=True, kw_only=True)
class HeadConfig(ModelConfig):
    """A model whose encoder steps become tokens by CTC, by a transducer, or by both."""

    head: Literal["ctc", "rnnt", "tdt", "rnnt+ctc", "tdt+ctc"] = "ctc"
    """What turns encoder steps into tokens: CTC, a transducer (`rnnt`), a token-and-duration
    transducer (`tdt`), or a transducer beside which CTC is trained on the same encoder."""
    ctc_weight: float = 0.3
    """Weight of the CTC loss beside a transducer's, between 0 and 1; the transducer takes the
    rest."""
    predictor_dim: int = 640
    """Width of a transducer's prediction network."""
    predictor_layers: int = 1
    """LSTM layers of the prediction network."""
    joint_dim: int = 640
    """Width in which a transducer adds encoder step and prediction."""
    joint_activation: Literal["relu", "tanh"] = "relu"
    """Activation of that sum."""
    head_dropout: float = 0.2
    """Probability of zeroing an activation of a transducer, from 0 to below 1."""
    durations: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Durations, in encoder steps, that a token-and-duration transducer chooses from."""
    sigma: float = 0.02
    """Nats taken off every log probability of a token in the loss of a token-and-duration
    transducer, which favours long durations (Xu et al. 2023, arXiv 2304.06795, section 4.3)."""
    fast_emit: float = 0.0
    """How much more the gradient of a transducer's tokens counts than that of its blanks, which
    favours early tokens (Yu et al. 2021, arXiv 2010.11148); 0 for the plain loss."""
    gradient_bound: float = 0.0
    """Part of the gradient that a transducer's loss may leave out, from 0 to below 1, so that most
    of its backward pass need not be computed on a GPU; 0 leaves nothing out."""

    def __post_init__(self) -> None:
        """Refuse heads that cannot be built."""
        for name in ("predictor_dim", "predictor_layers", "joint_dim"):
            if getattr(self, name) < 1:
                raise UserError(f"{name.replace('_', '-')} must be 1 or more")
        if not 0 < self.ctc_weight < 1:
            raise UserError(f"ctc-weight must be between 0 and 1; got {self.ctc_weight}")
        if not 0 <= self.head_dropout < 1:
            raise UserError(f"head-dropout must be from 0 to below 1; got {self.head_dropout}")
        if not 0 <= self.gradient_bound < 1:
            raise UserError(f"gradient-bound must be from 0 to below 1; got {self.gradient_bound}")
        for name in ("sigma", "fast_emit"):
            if not 0 <= getattr(self, name) < inf:  # which a NaN is not either
                raise UserError(f"{name.replace('_', '-')} must be 0 or more")
        distinct = len(set(self.durations)) == len(self.durations)
        # Without 0 a long text does not fit in its steps; without 1 some lengths are not a sum.
        if not distinct or not {0, 1} <= set(self.durations) or min(self.durations) < 0:
            raise UserError(
                f"durations must be distinct, 0 or more, with 0 and 1; got {self.durations}"
            )

    @property
    def uses_ctc(self) -> bool:
        """True if CTC is trained; a transducer alone takes a text of any length."""
        return "ctc" in self.head.split("+")

    @property
    def transducer(self) -> str:
        """Name of the transducer, `rnnt` or `tdt`; empty if there is none."""
        first = self.head.split("+")[0]
        return "" if first == "ctc" else first
