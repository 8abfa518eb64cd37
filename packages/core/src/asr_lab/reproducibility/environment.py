"""What a run depends on besides its settings: software, hardware, variables, code revision.

Facts are short texts by name, without paths, and without names of people or machines.
"""

import hashlib
import os
import platform
import re
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, entry_points, requires, version
from pathlib import Path

CORE = "asr-lab-core"
VARIABLES = (
    "ATEN_CPU_CAPABILITY",
    "CAUSAL_CONV1D_DETERMINISTIC",
    "CUBLAS_WORKSPACE_CONFIG",
    "CUDA_LAUNCH_BLOCKING",
    "CUDA_VISIBLE_DEVICES",
    "MAMBA_DETERMINISTIC",
    "MKL_CBWR",
    "MKL_NUM_THREADS",
    "NCCL_ALGO",
    "NCCL_NVLS_ENABLE",
    "NCCL_PROTO",
    "NVIDIA_TF32_OVERRIDE",
    "NVTE_ALLOW_NONDETERMINISTIC_ALGO",
    "OMP_NUM_THREADS",
    "PYTHONHASHSEED",
    "PYTORCH_ALLOC_CONF",
    "PYTORCH_CUDA_ALLOC_CONF",
    "TORCHINDUCTOR_DETERMINISTIC",
    "TORCHINDUCTOR_MAX_AUTOTUNE",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
    "TRITON_CACHE_AUTOTUNING",
    "TRITON_INTERPRET",
)
SOURCES = ("*.py", "*.toml", "*.cpp", "*.cu")
"""What counts as code; data have digests of their own."""
ACCELERATORS = (
    "causal-conv1d",
    "flash-attn",
    "mamba-ssm",
    "torchao",
    "transformer-engine",
    "triton",
)


def environment() -> dict[str, str]:
    """Return the facts about this machine and process; imports torch, at its cost if it is new.

    Names are grouped by a prefix: `package.`, `variable.`, `code.`, `gpu.`.
    """
    return {**machine(), **packages(), **variables(), **code(), **torch_facts()}


def environment_changes(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Return one line for each fact that differs, such as `torch: 2.10.0 -> 2.11.0`."""
    names = sorted(set(before) | set(after))
    return [
        f"{name}: {before.get(name, 'none')} -> {after.get(name, 'none')}"
        for name in names
        if before.get(name) != after.get(name)
    ]


def machine() -> dict[str, str]:
    """Return Python, operating system, processor, usable cores and memory."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    facts = {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": platform.platform(),
        "cpu": _cpu_name(),
        "cores": str(usable),
    }
    if "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {}):
        size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        facts["memory"] = f"{size / 2**30:.1f} GiB"
    return facts


def _cpu_name() -> str:
    """Return what the processor calls itself, or its architecture."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        text = ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.processor() or platform.machine()


def packages() -> dict[str, str]:
    """Return the versions of the core, of every plugin, and of what the core needs."""
    needed = [line for line in requires(CORE) or () if "extra ==" not in line]
    names = {re.split(r"[^A-Za-z0-9._-]", line)[0] for line in needed} | {CORE, *ACCELERATORS}
    names |= {point.dist.name for point in entry_points(group="asr_lab") if point.dist}
    facts = {}
    for name in sorted(names):
        try:
            facts[f"package.{name}"] = version(name)
        except PackageNotFoundError:
            continue
    return facts


def variables() -> dict[str, str]:
    """Return the environment variables that change results or their speed, where set."""
    return {f"variable.{name}": os.environ[name] for name in VARIABLES if name in os.environ}


def code() -> dict[str, str]:
    """Return revision and digest of local changes if the code runs from a git checkout.

    The digest covers changed and new files of SOURCES; `none` if there are neither.
    """
    here = Path(__file__)
    # Installed code can lie inside somebody's checkout without being part of it.
    if _git(here.parent, "ls-files", "--error-unmatch", here.name) is None:
        return {}
    revision = _git(here.parent, "rev-parse", "HEAD")
    root = _git(here.parent, "rev-parse", "--show-toplevel")
    if revision is None or root is None:
        return {}
    top = Path(os.fsdecode(root.strip()))
    return {"code.revision": revision.decode().strip(), "code.changes": _changes(top)}


def _changes(top: Path) -> str:
    """Return the SHA-256 of what differs from the revision, or `none`."""
    changed = _git(top, "diff", "HEAD", "--name-only", "-z", "--no-ext-diff", "--", *SOURCES)
    new = _git(top, "ls-files", "--others", "--exclude-standard", "-z", "--", *SOURCES)
    if changed is None or new is None:
        return "unknown"
    names = sorted(filter(None, (changed + new).split(b"\0")))
    hasher = hashlib.sha256()
    for name in names:
        path = top / os.fsdecode(name)
        content = path.read_bytes() if path.is_file() else b""
        hasher.update(b"%d %s %d %d " % (len(name), name, path.is_file(), len(content)))
        hasher.update(content)
    return hasher.hexdigest() if names else "none"


def _git(folder: Path, *arguments: str) -> bytes | None:
    """Return what git prints, or None if it is missing or fails."""
    command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def torch_facts() -> dict[str, str]:
    """Return torch's build and threads, and CUDA, cuDNN, driver and GPUs where there are any."""
    import torch

    facts = {
        "torch": torch.__version__,
        "cpu.capability": torch.backends.cpu.get_cpu_capability(),
        "threads": str(torch.get_num_threads()),
    }
    if not torch.cuda.is_available():
        return facts
    facts["cuda"] = str(torch.version.cuda or torch.version.hip)
    facts["cudnn"] = str(torch.backends.cudnn.version())
    facts["driver"] = _driver()
    if torch.distributed.is_available() and torch.distributed.is_nccl_available():
        facts["nccl"] = ".".join(map(str, torch.cuda.nccl.version()))
    for index in range(torch.cuda.device_count()):
        gpu = torch.cuda.get_device_properties(index)
        memory = f"{gpu.total_memory / 2**30:.0f} GiB"
        facts[f"gpu.{index}"] = f"{gpu.name}, capability {gpu.major}.{gpu.minor}, {memory}"
    return facts


def triton_digest() -> str:
    """Return the SHA-256 of the lab's Triton kernels, whose configurations stand in their sources.

    `none` where there are none. Kernels of others are covered by the versions of their packages.
    """
    import asr_lab

    found = sorted(
        (path.name, path.read_bytes())
        for folder in asr_lab.__path__
        for path in Path(folder).rglob("*_triton.py")
    )
    hasher = hashlib.sha256()
    for name, content in found:
        hasher.update(b"%s %d " % (name.encode(), len(content)) + content)
    return hasher.hexdigest() if found else "none"


def _driver() -> str:
    """Return the version of NVIDIA's kernel module, or `unknown`."""
    try:
        text = Path("/proc/driver/nvidia/version").read_text(encoding="utf-8")
    except OSError:
        return "unknown"
    found = re.search(r"Kernel Module\D*([\d.]+)", text)
    return found[1] if found else "unknown"
