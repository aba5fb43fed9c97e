"""What ``mmcv.ops.get_compiler_version`` and its like report (seen in every environment log)."""

import torchvision


def get_compiler_version() -> str:
    """Say that nothing was compiled, and where the ops come from."""
    return f'none (ops served by glmix_mm from torchvision {torchvision.__version__})'


def get_compiling_cuda_version() -> str:
    """Return what an mmcv compiled without CUDA returns."""
    return 'not available'
