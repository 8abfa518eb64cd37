"""What the tests of models and plugins need; comes with `asr-lab-core[testing]`."""

from typing import TYPE_CHECKING

from asr_lab.plugins.lazy import lazy_attributes

if TYPE_CHECKING:
    from asr_lab.testing.check import check_model
    from asr_lab.testing.contract import ModelContract
else:
    __getattr__ = lazy_attributes(__name__, ModelContract="contract", check_model="check")

__all__ = ["ModelContract", "check_model"]
