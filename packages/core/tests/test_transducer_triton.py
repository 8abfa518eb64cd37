"""The transducer's kernels in Triton's interpreter, against double precision on the CPU."""

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from asr_lab.losses import transducer_chunks
from asr_lab.losses.transducer import why_not_fused
from asr_lab.losses.transducer_chunks import plan
from asr_lab.losses.transducer_rows import Group, all_rows, group, keep
from asr_lab.losses.transducer_settings import TransducerSettings

LOSS, GRADIENT, HALF = 1e-6, 1e-6, 2e-3
CASES = (
    "rnnt in whole tiles",
    "rnnt with the blank in the tail",
    "rnnt padded to a tile",
    "tdt in whole tiles",
    "tdt with tokens in the tail",
    "tdt padded to a tile, no duration 0",
    "rnnt, cells left out",
    "tdt, cells left out",
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


@needs_triton
def test_the_kernels_compute_fewer_rows_where_cells_are_left_out(
    errors: dict[str, list[float]],
) -> None:
    assert all(0 < part < 0.9 for part in errors["kept"])


def test_no_kernel_chooses_its_blocks_at_run_time() -> None:
    folder = Path(transducer_chunks.__file__).parent
    kernels = sorted(folder.glob("*_triton.py"))
    assert len(kernels) >= 4
    for path in kernels:
        assert not re.search("autotune|heuristics|atomic_", path.read_text("utf-8")), path


@pytest.mark.parametrize("most", [1, 7, 20, 1000])
def test_every_cell_has_one_row(most: int) -> None:
    lengths, widths = [5, 0, 3, 1], [3, 5, 1, 4]
    chunks, starts = plan(lengths, widths, most)
    cells = [
        (places[row] + (step - chunk.first_step) * widths[row] + place, (row, step, place))
        for chunk, places in zip(chunks, starts, strict=True)
        for row in range(4)
        if places[row] >= 0
        for step in range(chunk.first_step, min(chunk.first_step + chunk.span, lengths[row]))
        for place in range(widths[row])
    ]
    expected = [
        (row, step, place)
        for row in range(4)
        for step in range(lengths[row])
        for place in range(widths[row])
    ]
    assert sorted(cell for _, cell in cells) == expected
    assert sorted(number for number, _ in cells) == list(range(len(expected)))
    for chunk, places in zip(chunks, starts, strict=True):
        numbers = [start for start in places if start >= 0]
        assert min(numbers) == chunk.first
        assert all(row in chunk.utterances for row in range(4) if places[row] >= 0)


def test_chunks_are_no_larger_than_asked() -> None:
    chunks, _ = plan([50, 40, 30, 2], [11, 21, 31, 5], 70)
    assert max(chunk.rows for chunk in chunks) <= 70
    assert sum(chunk.rows for chunk in chunks) == 50 * 11 + 40 * 21 + 30 * 31 + 2 * 5


def test_without_a_gpu_the_plain_loss_serves() -> None:
    projected = torch.zeros(1, 2, 3)
    settings = TransducerSettings(blank_id=3)
    why = why_not_fused(projected, projected, settings, torch.float32)
    assert why == "the kernels need CUDA; the operands are on cpu"


@pytest.mark.parametrize(("batch", "steps"), [(0, 2), (2, 0)])
def test_where_there_is_nothing_to_compute_the_plain_loss_serves_on_any_device(
    batch: int, steps: int
) -> None:
    projected, predicted = torch.zeros(batch, steps, 3), torch.zeros(batch, 1, 3)
    why = why_not_fused(projected, predicted, TransducerSettings(blank_id=3), torch.float32)
    assert why == f"the kernels need cells; a batch of {batch} x {steps} x 1 has none"


def test_kept_rows_of_neighbouring_chunks_are_computed_together() -> None:
    assert group([3, 5, 5, 9], 6) == [Group(0, 5, range(3)), Group(5, 4, range(3, 4))]
    assert group([3, 5, 5, 9], 100) == [Group(0, 9, range(4))]
    assert group([0, 0, 7], 1) == [Group(0, 7, range(2, 3))]


def test_rows_below_a_part_of_the_mean_are_left_out_and_others_keep_their_order() -> None:
    chunks, _ = plan([3, 2], [2, 1], 4)
    bounds = torch.tensor([1.0, 0.0, 0.01, 2.0, 0.5, 0.02, 1.0, 0.0])
    found = keep(bounds, tuple(chunks), 0.1, 100)  # of a mean of 0.57
    assert found.numbers.tolist() == [0, 3, 4, 6]
    assert found.place.tolist() == [0, -1, -1, 1, 2, -1, 3, -1]
    assert [one.rows for one in found.groups] == [4]
    everything = keep(bounds, tuple(chunks), 0.0, 1)
    assert everything.groups == all_rows(tuple(chunks))


def test_rows_that_are_no_numbers_are_kept() -> None:
    chunks, _ = plan([2], [1], 4)
    found = keep(torch.tensor([float("nan"), 0.0]), tuple(chunks), 0.5, 100)
    assert found.numbers.tolist() == [0, 1]
