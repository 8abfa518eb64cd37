"""The transducer's kernels in Triton's interpreter, against double precision on the CPU."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from asr_lab.losses.transducer import why_not_fused
from asr_lab.losses.transducer_chunks import layout, plan
from asr_lab.losses.transducer_settings import TransducerSettings

LOSS, GRADIENT, HALF = 1e-6, 1e-6, 2e-3
CASES = (
    "rnnt in whole tiles",
    "rnnt with the blank in the tail",
    "rnnt padded to a tile",
    "tdt in whole tiles",
    "tdt with tokens in the tail",
    "tdt padded to a tile, no duration 0",
    "fp16",
)
needs_triton = pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")


@pytest.fixture(scope="module")
def errors() -> dict[str, list[float]]:
    """Return the errors of loss and gradients of every case, and the changes in a repetition."""
    script = Path(__file__).with_name("transducer_interpreted.py")
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", script, "24"],
        env=os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    found: dict[str, list[float]] = json.loads(ran.stdout)
    return found


@needs_triton
@pytest.mark.parametrize("case", CASES)
def test_the_kernels_agree_with_double_precision(case: str, errors: dict[str, list[float]]) -> None:
    loss, *gradients = errors[case]
    assert loss <= LOSS
    assert max(gradients) <= (HALF if case == "fp16" else GRADIENT)


@needs_triton
def test_the_kernels_repeat_bit_by_bit(errors: dict[str, list[float]]) -> None:
    assert errors["again"] == [0] * 5


@pytest.mark.parametrize("most", [1, 7, 20, 1000])
def test_every_cell_has_one_row(most: int) -> None:
    lengths, token_lengths = torch.tensor([5, 0, 3, 1]), torch.tensor([2, 4, 0, 3])
    tokens = torch.arange(16).reshape(4, 4)
    found = layout(lengths, tokens, token_lengths, 6, 5, most)
    expected = [
        (row * 6 + step) * 5 + place
        for row in range(4)
        for step in range(lengths[row])
        for place in range(token_lengths[row] + 1)
    ]
    assert sorted(found.cells.tolist()) == expected
    for cell, label in zip(found.cells.tolist(), found.labels.tolist(), strict=True):
        row, place = cell // 30, cell % 5
        assert label == (tokens[row, place] if place < token_lengths[row] else -1)
    for chunk, starts in zip(found.chunks, found.starts, strict=True):
        for row in chunk.utterances:
            if lengths[row] > chunk.first_step:
                assert found.cells[starts[row]] == (row * 6 + chunk.first_step) * 5


def test_chunks_are_no_larger_than_asked() -> None:
    chunks, _ = plan([50, 40, 30, 2], [11, 21, 31, 5], 70)
    assert max(chunk.rows for chunk in chunks) <= 70
    assert sum(chunk.rows for chunk in chunks) == 50 * 11 + 40 * 21 + 30 * 31 + 2 * 5


def test_without_a_gpu_the_plain_loss_serves() -> None:
    projected = torch.zeros(1, 2, 3)
    settings = TransducerSettings(blank_id=3)
    why = why_not_fused(projected, projected, settings, torch.float32)
    assert why == "the kernels need CUDA; the operands are on cpu"
