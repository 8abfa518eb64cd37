"""Operations of speech models whose results can differ between runs, and what to use instead.

A test walks the catalogue on the machine at hand.
"""

from dataclasses import dataclass
from typing import Literal

Behaviour = Literal["same", "switched", "refused"]
"""What torch does in deterministic mode. `same`: what it always does, which is deterministic.
`switched`: it takes another kernel, which is deterministic. `refused`: it has none, and raises."""


@dataclass(frozen=True, kw_only=True)
class Operation:
    """An operation, and how it behaves in deterministic mode."""

    name: str
    """What people call it."""
    kernel: str = ""
    """What torch calls it when it refuses."""
    cpu: Behaviour = "same"
    cuda: Behaviour
    instead: str = ""
    """What to use where it is refused."""
    refused_before: str = ""
    """Release of torch from which on it is as `cuda` says; some of those before it refused it."""


OPERATIONS = (
    Operation(
        name="the gradient of torch's CTC loss",
        kernel="ctc_loss_backward_gpu",
        cuda="refused",
        instead="asr_lab.losses.ctc_loss",
    ),
    Operation(
        name="a cumulative sum of floats",
        kernel="cumsum_cuda_kernel",
        cuda="switched",
        refused_before="2.11",
        instead="a matrix product with a triangle of ones",
    ),
    Operation(
        name="the gradient of linear interpolation",
        kernel="upsample_linear1d_backward_out_cuda",
        cuda="refused",
        instead="a product with a fixed matrix, or mode='nearest'",
    ),
    Operation(
        name="the gradient of reflecting padding",
        kernel="reflection_pad1d_backward_out_cuda",
        cuda="refused",
        instead="padding with zeros, or torch.cat of flipped slices",
    ),
    Operation(
        name="the gradient of replicating padding",
        kernel="replication_pad1d_backward_cuda",
        cuda="switched",
        refused_before="2.11",
        instead="padding with zeros, or torch.cat of expanded slices",
    ),
    Operation(
        name="the gradient of adaptive average pooling in two dimensions",
        kernel="adaptive_avg_pool2d_backward_cuda",
        cuda="refused",
        instead="a mean over reshaped axes",
    ),
    Operation(
        name="the gradient of grid_sample",
        kernel="grid_sampler_2d_backward_cuda",
        cuda="refused",
        instead="gather",
    ),
    Operation(
        name="the negative log likelihood over two-dimensional maps",
        kernel="nll_loss2d_forward_out_cuda_template",
        cuda="refused",
        instead="nll_loss on flattened positions",
    ),
    Operation(
        name="put_ without accumulate",
        kernel="put_",
        cpu="refused",
        cuda="refused",
        instead="index_put_ or index_copy_",
    ),
    Operation(
        name="a histogram of floats",
        kernel="_histc_cuda with floating point input",
        cuda="refused",
        instead="torch.bucketize and a comparison",
    ),
    Operation(
        name="bincount with weights",
        kernel="_bincount_cuda",
        cuda="refused",
        instead="index_add_",
    ),
    Operation(
        name="a median with its index",
        kernel="median CUDA with indices output",
        cuda="refused",
        instead="torch.sort",
    ),
    Operation(name="the gradient of flash attention", cuda="switched"),
    Operation(name="the gradient of a convolution", cuda="switched"),
    Operation(name="the gradient of indexing", cuda="switched"),
    Operation(name="the gradient of gather", cuda="switched"),
    Operation(name="the gradient of index_select", cuda="switched"),
    Operation(name="index_add_", cuda="switched"),
    Operation(name="scatter_add_", cuda="switched"),
    Operation(name="index_put_ with accumulate", cuda="switched"),
    Operation(name="the gradient of an embedding", cuda="same"),
    Operation(name="the gradient of layer normalisation", cuda="same"),
    Operation(name="the gradient of cross-entropy", cuda="same"),
    Operation(name="a matrix product", cuda="same"),
)


def refused(kernel: str) -> Operation | None:
    """Return the entry of what torch calls `kernel` in an error, if there is one."""
    return next((one for one in OPERATIONS if one.kernel == kernel), None)
