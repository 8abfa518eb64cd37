"""Steps as CUDA graphs: which shapes there are, and who is told that they cannot be had."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from asr_lab.models.base import Batch, Sequences
from asr_lab.plugins import ModelSpec, installed_plugins
from asr_lab.plugins.specs import load_target
from asr_lab.training.graphs import padded, rounded, why_not

Train = Callable[..., int]


def test_sizes_are_few_and_none_is_cut() -> None:
    for fineness in (4, 8, 16):
        found = [rounded(count, fineness) for count in range(4097)]
        assert all(count <= one for count, one in enumerate(found))
        assert found == sorted(found)
        assert all(rounded(one, fineness) == one for one in found)
        assert max(one / count for count, one in enumerate(found) if count) <= 1 + 1 / fineness
        for power in range(6, 12):
            assert len(set(found[2**power : 2 ** (power + 1)])) == fineness + 1


def test_what_is_added_to_a_batch_counts_for_nothing() -> None:
    values = torch.randn(9, 100, 5)
    batch = Batch(
        features=Sequences(values, torch.arange(92, 101)),
        tokens=torch.randint(7, (9, 13)),
        token_lengths=torch.arange(5, 14),
        keys=torch.arange(9),
        language=("en",) * 9,
    )
    assert padded(batch).features.values.shape == (9, 100, 5)
    assert padded(batch).tokens.shape == (9, 14)
    larger = padded(batch.to("cpu"))
    more = Batch(
        features=Sequences(torch.randn(17, 67, 5), torch.full((17,), 67)),
        tokens=torch.randint(7, (17, 17)),
        token_lengths=torch.full((17,), 17),
    )
    wide = padded(more)
    assert torch.equal(larger.features.values, values)
    assert wide.features.values.shape == (18, 68, 5)
    assert wide.tokens.shape == (18, 20)
    assert not wide.features.values[17].any() and not wide.features.values[:, 67:].any()
    assert wide.features.lengths[17] == 0 and wide.token_lengths[17] == 0
    assert wide.valid.tolist() == [True] * 17 + [False]


def test_a_run_that_cannot_have_graphs_is_told_why(
    train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("--train.cuda-graphs --device cpu --train.steps 1") == 2
    told = capsys.readouterr().err
    assert "--train.cuda-graphs needs a GPU; this run is on cpu; leave out" in told


def test_graphs_are_refused_where_bits_or_memory_would_be_wrong(probe: Path) -> None:
    spec = installed_plugins().registry.find(ModelSpec, "probe")[1]
    config = load_target(spec.config).tiny()  # type: ignore[attr-defined]
    model = load_target(spec.model)(config)  # type: ignore[operator]
    assert model.fits_cuda_graph
    assert why_not(model, "bf16", "exact", "cuda", 1) == ""
    assert "one process; this run has 2" in why_not(model, "bf16", "exact", "cuda", 2)
    assert "takes fp32, tf32, bf16; found --precision fp16" in why_not(
        model, "fp16", "exact", "cuda", 1
    )
    assert "--repro elastic adds up" in why_not(model, "bf16", "elastic", "cuda", 1)
    model.fits_cuda_graph = False
    assert "asks the GPU for numbers" in why_not(model, "bf16", "exact", "cuda", 1)
