"""Launch a Triton kernel many times on the same tensors, binding its arguments only once."""

from inspect import signature
from typing import Any

from torch import Tensor
from triton.compiler import CompiledKernel


class Repeated:
    """A kernel whose first parameters vary from launch to launch, all others being fixed.

    Triton's ordinary launch inspects every argument each time, which may take the host longer than
    the kernel takes. Here only the first launch does, and finds the compiled kernel; later ones
    call that with the same tensors. The parameters that vary are integers below 2^31, of which
    nothing may be assumed: the kernel names them in `do_not_specialize`.
    """

    def __init__(self, kernel: Any, *fixed: Tensor | int, **constants: Any) -> None:  # noqa: ANN401
        """Hold the arguments behind those that vary, and the kernel's constants and options."""
        self.kernel, self.fixed, self.constants = kernel, fixed, constants
        self.compiled: CompiledKernel | None = None
        # A compiled kernel takes its constants by position, too, and ignores them.
        names = [name for name in signature(kernel.fn).parameters if name in constants]
        self.arguments = (*fixed, *(constants[name] for name in names))

    def __call__(self, programs: int, *varying: int) -> None:
        """Launch that many programs on the current stream of the first launch's device."""
        grid = (programs, 1, 1)
        if self.compiled is not None:
            self.compiled[grid](*varying, *self.arguments)
            return
        found = self.kernel[grid](*varying, *self.fixed, **self.constants)
        # Triton's interpreter, and its compilation in the background, return something else.
        if isinstance(found, CompiledKernel):
            self.compiled = found
