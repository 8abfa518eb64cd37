"""How many steps are left after subsampling; torch-free, because configurations say so."""


def subsampled(frames: int, factor: int) -> int:
    """Return the steps left of `frames` after convolutions whose strides multiply to `factor`.

    True for kernels of three frames, padded by one on either side, and strides of 1 and 2: each
    halving rounds up, and rounding up twice by 2 is rounding up once by 4.
    """
    return -(-frames // factor)
