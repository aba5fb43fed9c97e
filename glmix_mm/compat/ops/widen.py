"""Widens tensors to the precision that the served ops compute in."""

from torch import Tensor, float32, promote_types


def widen(reference: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
    """Return the tensors in the precision of ``reference``, which is at least float32.

    torchvision's kernels need one dtype for all arguments, and do not support half precision on the
    CPU. Boxes and sampling positions always need more bits than half precision has.
    """
    dtype = promote_types(reference.dtype, float32)
    return tuple(tensor.to(dtype) for tensor in (reference, *others))
