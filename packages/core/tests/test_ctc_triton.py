"""CTC's kernels in Triton's interpreter, against double precision on the CPU."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from math import inf, isnan
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")

LOSS, GRADIENT = 5e-7, 2e-6
CASES = (
    "ragged",
    "tokens again and again",
    "peaked",
    "improbable beyond FP32 and FP64",
    "more scores than a block",
    "no tokens at all",
)


@pytest.fixture(scope="module")
def found() -> dict[str, dict[str, Any]]:
    """Return errors, laws and oddities; blocks have 16 scores."""
    script = Path(__file__).with_name("ctc_interpreted.py")
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", script, "16"],
        env=os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    read: dict[str, dict[str, Any]] = json.loads(ran.stdout)
    return read


@pytest.mark.parametrize("case", CASES)
def test_the_kernels_agree_with_double_precision(
    case: str, found: dict[str, dict[str, Any]]
) -> None:
    loss, gradient = found["errors"][case]
    assert loss <= LOSS
    assert gradient <= GRADIENT


@pytest.mark.parametrize(
    "law", ["repeats with other strides and integers", "order", "padding", "sums"]
)
def test_the_kernels_obey_the_laws(law: str, found: dict[str, dict[str, Any]]) -> None:
    assert found["laws"][law]


def test_half_precision_is_computed_in_fp32(found: dict[str, dict[str, Any]]) -> None:
    assert found["errors"]["fp16"] == [0, 0]


def test_forbidden_tokens_and_nan_stay_with_their_utterance(
    found: dict[str, dict[str, Any]],
) -> None:
    losses, gradients = found["oddities"]["odd"], found["oddities"]["odd gradients"]
    assert (losses[0], gradients[0]) == (inf, 0)
    assert isnan(losses[1])
    assert isnan(gradients[1])
    # All scores of a step are alike, however low.
    assert losses[2] < 2 * losses[3] < inf
    assert gradients[2] > 0


@pytest.mark.parametrize("wrong", ["tokens", "lengths"])
def test_what_no_text_has_makes_its_loss_nan(wrong: str, found: dict[str, dict[str, Any]]) -> None:
    assert [isnan(loss) for loss in found["oddities"][wrong]] == [True, True, True, False]
