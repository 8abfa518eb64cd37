"""What went wrong in an evaluation besides single words: plain data for reports; torch-free."""

from typing import TYPE_CHECKING

from asr_lab.plugins.lazy import lazy_attributes

if TYPE_CHECKING:
    from asr_lab.evaluation.failures.calibration import Calibration, calibrate, confidence
    from asr_lab.evaluation.failures.finding import FAILURES, REFERENCES, Finding, Findings
    from asr_lab.evaluation.failures.search import find_failures
else:
    __getattr__ = lazy_attributes(
        __name__,
        FAILURES="finding",
        REFERENCES="finding",
        Calibration="calibration",
        Finding="finding",
        Findings="finding",
        calibrate="calibration",
        confidence="calibration",
        find_failures="search",
    )

__all__ = [
    "FAILURES",
    "REFERENCES",
    "Calibration",
    "Finding",
    "Findings",
    "calibrate",
    "confidence",
    "find_failures",
]
