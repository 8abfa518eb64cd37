"""Losses as sums and counts, so that a gradient does not depend on how a batch was split."""

from typing import TYPE_CHECKING

from asr_lab.plugins.lazy import lazy_attributes

if TYPE_CHECKING:
    from asr_lab.losses.cross_entropy import cross_entropy_loss, teacher_forcing
    from asr_lab.losses.ctc import ctc_loss, ctc_losses
    from asr_lab.losses.transducer import transducer_loss
else:
    __getattr__ = lazy_attributes(
        __name__,
        cross_entropy_loss="cross_entropy",
        ctc_loss="ctc",
        ctc_losses="ctc",
        teacher_forcing="cross_entropy",
        transducer_loss="transducer",
    )

__all__ = ["cross_entropy_loss", "ctc_loss", "ctc_losses", "teacher_forcing", "transducer_loss"]
