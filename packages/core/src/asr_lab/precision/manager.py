"""How a training step runs in a precision: the base class, and the precisions of the core."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import overload

import torch
from jaxtyping import Float
from torch import Tensor, nn

from asr_lab.precision.devices import capability, device_name
from asr_lab.precision.modes import Support


class PrecisionManager:
    """FP32 on any device, and the base of every other precision.

    Order of use: build the model, `prepare`, move to the device, shard, compile, build the
    optimizer, load state. Losses, statistics of norms and master weights stay FP32 in all of them.
    """

    name: str = "fp32"
    dtype: torch.dtype = torch.float32
    """What `autocast` computes matrix products in."""
    scales: bool = False
    """True if the loss is scaled: a gradient that overflows then means a scale too large."""
    has_history: bool = False
    """True if a step computes with what earlier ones left behind and `state_dict` does not keep,
    as delayed scaling does: such a run cannot be resumed bit for bit."""
    matmul: str = "highest"
    """Precision of FP32 matrix products on the GPU: `highest` is IEEE FP32, `high` TF32."""

    def __init__(self, device: torch.device) -> None:
        """Keep the device."""
        self.device = device

    @classmethod
    def support(cls, device: torch.device) -> Support:
        """Say whether the precision runs on `device`."""
        return Support(True)

    def prepare(self, model: nn.Module) -> nn.Module:
        """Change a freshly built model for the precision; here not at all."""
        return model

    def autocast(self) -> AbstractContextManager[object]:
        """Span a forward pass and its loss."""
        if self.dtype is torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)

    @overload
    def step(self) -> AbstractContextManager[None]: ...

    @overload
    def step(self, optimizer: torch.optim.Optimizer) -> bool: ...

    def step(
        self, optimizer: torch.optim.Optimizer | None = None
    ) -> AbstractContextManager[None] | bool:
        """Span forward and backward, or with an optimizer: change the weights.

        `with manager.step():` sets process-wide switches and restores them. `step(optimizer)`
        returns False if it left the weights alone because a gradient was not finite.
        """
        return self._switches() if optimizer is None else self._apply(optimizer)

    def backward(self, loss: Float[Tensor, ""]) -> None:
        """Add the gradient of `loss`."""
        loss.backward()

    def unscale(self, optimizer: torch.optim.Optimizer) -> None:
        """Undo a scaling of the gradients, before their norm is taken."""

    def state_dict(self) -> dict[str, object]:
        """Return what a checkpoint must keep, as plain values."""
        return {}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Go on from `state_dict`'s result."""

    def _apply(self, optimizer: torch.optim.Optimizer) -> bool:
        optimizer.step()
        return True

    @contextmanager
    def _switches(self) -> Iterator[None]:
        before = torch.get_float32_matmul_precision()
        convolutions = _convolutions("tf32" if self.matmul == "high" else "ieee")
        # cuDNN's attention plans anew for every shape, and hardly two batches of speech share one:
        # that took six times as long as all of the rest of a step of a Whisper-shaped model.
        attention = torch.backends.cuda.cudnn_sdp_enabled()
        torch.backends.cuda.enable_cudnn_sdp(False)
        torch.set_float32_matmul_precision(self.matmul)
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(before)
            torch.backends.cuda.enable_cudnn_sdp(attention)
            _convolutions(convolutions)


class TF32Manager(PrecisionManager):
    """FP32 storage, matrix products with 10 bits of mantissa; a GPU with tensor cores."""

    name = "tf32"
    matmul = "high"

    @classmethod
    def support(cls, device: torch.device) -> Support:
        """Say whether the precision runs on `device`."""
        return _needs(cls.name, (8, 0), device, "fp32")


class BF16Manager(PrecisionManager):
    """Matrix products and activations in BF16, master weights in FP32."""

    name = "bf16"
    dtype = torch.bfloat16

    @classmethod
    def support(cls, device: torch.device) -> Support:
        """Say whether the precision runs on `device`: any CPU, or compute capability 8.0."""
        if device.type == "cpu":
            return Support(True)
        return _needs(cls.name, (8, 0), device, "fp16 or fp32")


class FP16Manager(PrecisionManager):
    """Matrix products and activations in FP16, with a loss scale that adapts; for older GPUs."""

    name = "fp16"
    dtype = torch.float16
    scales = True

    def __init__(self, device: torch.device) -> None:
        """Start with torch's default loss scale, 65,536."""
        super().__init__(device)
        self.scaler = torch.amp.grad_scaler.GradScaler(device.type)

    @classmethod
    def support(cls, device: torch.device) -> Support:
        """Say whether the precision runs on `device`: any usable GPU."""
        return _needs(cls.name, (0, 1), device, "bf16 or fp32")

    def backward(self, loss: Float[Tensor, ""]) -> None:
        """Add the gradient of the scaled loss."""
        self.scaler.scale(loss).backward()

    def unscale(self, optimizer: torch.optim.Optimizer) -> None:
        """Divide the gradients by the loss scale."""
        self.scaler.unscale_(optimizer)

    def state_dict(self) -> dict[str, object]:
        """Return the loss scale and how long it has held."""
        return dict(self.scaler.state_dict())

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Go on with a stored loss scale."""
        self.scaler.load_state_dict(dict(state))

    def _apply(self, optimizer: torch.optim.Optimizer) -> bool:
        scale = self.scaler.get_scale()
        self.scaler.step(optimizer)
        self.scaler.update()
        return bool(self.scaler.get_scale() >= scale)


class UnbuiltManager(PrecisionManager):
    """A precision that has a name here and no implementation yet."""

    @classmethod
    def support(cls, device: torch.device) -> Support:
        """Say that it does not run."""
        return Support(False, "not in this version; use bf16 or fp32")


def _needs(name: str, least: tuple[int, int], device: torch.device, instead: str) -> Support:
    if device.type != "cuda":
        return Support(False, f"{name} needs a CUDA GPU; this is the {device.type}; use {instead}")
    if (found := capability(device)) >= least:
        return Support(True)
    wanted, has = (".".join(map(str, version)) for version in (least, found))
    return Support(
        False,
        f"{name} needs compute capability {wanted}; {device_name(device)} has {has}; use {instead}",
    )


def _convolutions(precision: str) -> str:
    """Set what FP32 convolutions on the GPU compute in, `tf32` or `ieee`; return what it was."""
    switch = getattr(torch.backends.cudnn, "conv", None)
    if switch is not None:
        before = str(switch.fp32_precision)
        switch.fp32_precision = precision
        return before
    # Before torch 2.9 there was one switch for all of cuDNN.
    before = "tf32" if torch.backends.cudnn.allow_tf32 else "ieee"
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    return before
