"""Pytest plugin: markers for what a machine must have, and tiers that promise it has.

It is part of every test run where the core is installed, so it imports torch only for a test that
needs something.
"""

import os

import pytest

LOWEST_CAPABILITY = {
    "cuda": (0, 0),
    "fp16": (7, 0),
    "bf16": (8, 0),
    "flash": (8, 0),
    "fp8": (8, 9),
    "mx": (10, 0),
}
"""Compute capability from which a GPU has each feature; `cuda` is any that torch can use."""

PROMISES = {
    "tests-cuda": ("cuda",),
    "tests-v100": ("cuda", "fp16"),
    "tests-a100": ("cuda", "fp16", "bf16", "flash"),
    "tests-h100": ("cuda", "fp16", "bf16", "flash", "fp8"),
    "tests-b200": ("cuda", "fp16", "bf16", "flash", "fp8", "mx"),
}
"""What each tier, named by `ASR_LAB_TIER`, says the machine has: a skip is then a failure."""

MARKERS = (
    "slow: left out unless asked for with -m slow",
    "gpu: needs any usable GPU; short for needs('cuda')",
    "needs(*features): needs cuda, fp16, bf16, flash, fp8 or mx; skipped where they are missing",
)

pytest.register_assert_rewrite("asr_lab.testing.contract")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the markers, and refuse a tier that does not exist."""
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)
    tier = os.environ.get("ASR_LAB_TIER", "")
    if tier and tier not in PROMISES:
        raise pytest.UsageError(f"no tier {tier!r}; choose from {', '.join(PROMISES)}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let tests on a GPU use deterministic kernels: cuBLAS reads this once, when it starts."""
    if any(item.get_closest_marker(name) for item in items for name in ("needs", "gpu")):
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test that needs what the machine lacks; fail it if the tier promised that."""
    needed = [feature for mark in item.iter_markers("needs") for feature in mark.args]
    if item.get_closest_marker("gpu"):
        needed.append("cuda")
    tier = os.environ.get("ASR_LAB_TIER", "")
    for feature in needed:
        if feature not in LOWEST_CAPABILITY:
            choices = ", ".join(LOWEST_CAPABILITY)
            pytest.fail(f"no feature {feature!r}; choose from {choices}", pytrace=False)
        if reason := lacking(feature):
            if feature in PROMISES.get(tier, ()):
                pytest.fail(f"{tier} promises {feature}, but {reason}", pytrace=False)
            pytest.skip(f"needs {feature}: {reason}")


def lacking(feature: str) -> str:
    """Return why this machine lacks a feature, or nothing if it has it."""
    import torch

    if not torch.cuda.is_available():
        return "torch finds no GPU"
    found, name = torch.cuda.get_device_capability(), torch.cuda.get_device_name()
    if not usable(found, torch.cuda.get_arch_list()):
        return f"this torch has no kernels for {name}, compute capability {_dotted(found)}"
    return too_low(feature, found, name)


def too_low(feature: str, capability: tuple[int, int], name: str) -> str:
    """Return why a GPU of that capability lacks a feature, or nothing if it has it."""
    lowest = LOWEST_CAPABILITY[feature]
    if capability >= lowest:
        return ""
    return f"it needs compute capability {_dotted(lowest)}; {name} has {_dotted(capability)}"


def usable(capability: tuple[int, int], architectures: list[str]) -> bool:
    """Return whether a torch built for `architectures` has kernels for a GPU.

    Binary code (`sm_80`) runs on later minor versions of its major one, PTX (`compute_80`) on all
    later versions.
    """
    for architecture in architectures:
        kind, _, number = architecture.partition("_")
        if not number.isdigit():  # sm_90a and the like run on exactly that GPU, beside sm_90
            continue
        built = divmod(int(number), 10)
        if built <= capability and (kind == "compute" or built[0] == capability[0]):
            return True
    return False


def _dotted(capability: tuple[int, int]) -> str:
    return ".".join(map(str, capability))
