"""Precisions: what is supported where, and that a step runs in what its name says."""

import pytest
import torch
from torch import nn

from asr_lab.precision import PrecisionMode, get_precision_manager, support
from asr_lab.precision.devices import choose_device, kernels_for, usable_gpu
from asr_lab.precision.manager import FP16Manager, TF32Manager
from asr_lab.utils.errors import UserError

CPU = torch.device("cpu")


def step(mode: str, model: nn.Module, device: str = "cpu") -> torch.dtype:
    """Do one optimizer step and return what the product was computed in."""
    manager = get_precision_manager(mode, device)
    model = manager.prepare(model).to(device)
    optimizer = torch.optim.AdamW(model.parameters())
    with manager.step():
        with manager.autocast():
            output = model(torch.randn(4, 8, device=device))
            loss = output.float().square().mean()  # a sum overflows FP16 at the first scale
        manager.backward(loss)
    manager.unscale(optimizer)
    assert manager.step(optimizer)
    assert isinstance(output, torch.Tensor)
    return output.dtype


@pytest.mark.parametrize(("mode", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_a_step_computes_in_its_precision_and_keeps_fp32_weights(
    mode: str, dtype: torch.dtype
) -> None:
    model = nn.Linear(8, 4)
    before = model.weight.detach().clone()
    assert step(mode, model) is dtype
    assert model.weight.dtype is torch.float32
    assert not torch.equal(before, model.weight)


def test_the_guide_s_example_runs() -> None:
    precision = get_precision_manager(PrecisionMode.BF16, "cpu")
    with precision.autocast():
        assert nn.Linear(8, 4)(torch.randn(1, 8)).dtype is torch.bfloat16


@pytest.mark.parametrize("mode", ["fp8", "mxfp8", "mxfp4"])
def test_a_precision_that_is_not_built_says_so_and_does_not_fall_back(mode: str) -> None:
    answer = support(mode, "cpu")
    assert not answer
    assert "not in this version" in answer.reason
    with pytest.raises(UserError, match="not in this version; use bf16 or fp32"):
        get_precision_manager(mode, "cpu")


@pytest.mark.parametrize("mode", ["fp16", "tf32"])
def test_a_precision_of_gpus_is_refused_on_the_cpu_with_one_that_works(mode: str) -> None:
    with pytest.raises(UserError, match=f"{mode} needs a CUDA GPU.*use .*fp32"):
        get_precision_manager(mode, "cpu")


def test_an_unknown_precision_gets_a_suggestion() -> None:
    with pytest.raises(LookupError, match="no precision 'bf61'; did you mean bf16"):
        get_precision_manager("bf61", "cpu")


def test_every_mode_of_the_enumeration_is_registered() -> None:
    for mode in PrecisionMode:
        assert isinstance(support(mode, "cpu").ok, bool)


def test_tf32_switches_are_set_inside_the_step_and_restored_after_it() -> None:
    before = torch.get_float32_matmul_precision()
    with TF32Manager(CPU).step():
        assert torch.get_float32_matmul_precision() == "high"
        with get_precision_manager("fp32", "cpu").step():
            assert torch.get_float32_matmul_precision() == "highest"
        assert torch.get_float32_matmul_precision() == "high"
    assert torch.get_float32_matmul_precision() == before


def test_switches_are_restored_after_an_exception() -> None:
    before = torch.get_float32_matmul_precision()
    with pytest.raises(RuntimeError), TF32Manager(CPU).step():
        raise RuntimeError
    assert torch.get_float32_matmul_precision() == before


def test_fp16_leaves_the_weights_alone_when_a_gradient_overflows_and_lowers_its_scale() -> None:
    manager, model = FP16Manager(CPU), nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    before, scale = model.weight.detach().clone(), manager.scaler.get_scale()
    manager.backward((model(torch.ones(1, 2)) * float("inf")).sum())
    manager.unscale(optimizer)
    assert not manager.step(optimizer)
    assert torch.equal(before, model.weight)
    assert manager.scaler.get_scale() < scale
    restored = FP16Manager(CPU)
    restored.load_state_dict(manager.state_dict())
    assert restored.scaler.get_scale() == manager.scaler.get_scale()


@pytest.mark.parametrize(
    ("capability", "built", "works"),
    [
        ((9, 0), ["sm_80", "sm_90"], True),
        ((8, 6), ["sm_80"], True),
        ((8, 0), ["sm_86"], False),
        ((7, 0), ["sm_75", "sm_80"], False),
        ((10, 0), ["sm_90", "compute_90"], True),
        ((12, 0), ["sm_90a"], False),
    ],
)
def test_a_gpu_is_usable_if_torch_has_kernels_for_it(
    capability: tuple[int, int], built: list[str], works: bool
) -> None:
    assert bool(kernels_for(capability, built)) is works


def test_volta_is_told_which_build_still_has_its_kernels() -> None:
    assert "CUDA 12.6" in kernels_for((7, 0), ["sm_75"]).reason


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused_by_name() -> None:
    assert "no CUDA GPU" in usable_gpu().reason
    with pytest.raises(UserError, match="device cuda: .*use --device cpu"):
        choose_device("cuda")


def test_a_device_that_nobody_knows_is_refused() -> None:
    with pytest.raises(UserError, match="no device 'gpu'"):
        choose_device("gpu")


@pytest.mark.needs("bf16")
def test_bf16_runs_on_this_gpu() -> None:
    assert step("bf16", nn.Linear(8, 4), "cuda") is torch.bfloat16


@pytest.mark.needs("fp16")
def test_fp16_runs_on_this_gpu() -> None:
    assert step("fp16", nn.Linear(8, 4), "cuda") is torch.float16


@pytest.mark.needs("cuda")
def test_fp32_on_a_gpu_is_ieee_and_not_tf32() -> None:
    a, b = torch.randn(2, 256, 256, dtype=torch.float64, device="cuda")
    with get_precision_manager("fp32", "cuda").step():
        error = (a.float() @ b.float() - a @ b).abs().max()
    assert error < 1e-4
