"""How many steps are left after subsampling; torch-free, because configurations say so."""


def subsampled(frames: int, factor: int) -> int:
    """Return the steps left of `frames` after convolutions whose strides multiply to `factor`.

    True for kernels of three frames, padded by one on either side, and strides of 1 and 2: each
    halving rounds up, and rounding up twice by 2 is rounding up once by 4.
    """
    return -(-frames // factor)


def causally_subsampled(frames: int, factor: int) -> int:
    """Return the steps left of `frames` if each halving pads two frames before and one behind.

    As NeMo's causal downsampling counts (class CausalConv2D): half the frames, and one; nothing
    comes of nothing.
    """
    while factor > 1 and frames:
        frames, factor = frames // 2 + 1, factor // 2
    return frames
