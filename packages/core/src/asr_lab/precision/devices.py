"""Which device to compute on, and what it can do."""

import torch

from asr_lab.precision.modes import Support
from asr_lab.utils.errors import UserError


def usable_gpu(index: int = 0) -> Support:
    """Say whether GPU `index` is there and torch has kernels for it."""
    if not torch.cuda.is_available():
        built = "" if torch.version.cuda else " (this torch is built without CUDA)"
        return Support(False, f"this machine has no CUDA GPU{built}")
    if index >= torch.cuda.device_count():
        return Support(False, f"there is no GPU {index}; found {torch.cuda.device_count()}")
    return kernels_for(torch.cuda.get_device_capability(index), torch.cuda.get_arch_list())


def kernels_for(capability: tuple[int, int], built: list[str]) -> Support:
    """Say whether a torch built for the architectures `built` (`sm_80`, …) runs on `capability`.

    Machine code runs on the same major version from its minor version on; PTX (`compute_90`) is
    compiled for everything newer.
    """
    major, minor = capability
    for architecture in built:
        kind, _, digits = architecture.rstrip("af").partition("_")
        target = int(digits[:-1]), int(digits[-1])
        if kind == "sm" and target[0] == major and target[1] <= minor:
            return Support(True)
        if kind == "compute" and target <= capability:
            return Support(True)
    volta = "; install the torch build for CUDA 12.6" if (5, 0) <= capability < (7, 5) else ""
    names = ", ".join(built)
    return Support(False, f"torch has no kernels for capability {major}.{minor} ({names}){volta}")


def choose_device(name: str | torch.device | None = None) -> torch.device:
    """Return the device called `name`; without a name the GPU if it is usable, else the CPU.

    Raises UserError for a device that is not there.
    """
    if not name:
        return torch.device("cuda") if usable_gpu() else torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"no device {str(name)!r}; say cpu, cuda or cuda:N") from None
    if device.type == "cuda" and not (gpu := usable_gpu(device.index or 0)):
        raise UserError(f"device {name}: {gpu.reason}; use --device cpu")
    return device


def capability(device: torch.device) -> tuple[int, int]:
    """Return the compute capability of a CUDA device, (0, 0) for the CPU."""
    return torch.cuda.get_device_capability(device) if device.type == "cuda" else (0, 0)


def device_name(device: torch.device) -> str:
    """Return the name people know the device by."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
