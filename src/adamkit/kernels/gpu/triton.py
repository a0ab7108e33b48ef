"""Triton, if there is one and it is not too old."""

OLDEST = (3, 6)  # that of PyTorch 2.10; before it, `div_rn` and `sqrt_rn` made zeros of denormal numbers
_ADVICE = "Install it with: pip install 'adamkit[gpu]'"

try:
    import triton
    import triton.language as tl
except ImportError as error:
    raise ImportError(f"Adam's kernel for GPUs needs Triton. {_ADVICE}") from error
if tuple(map(int, triton.__version__.split(".")[:2])) < OLDEST:
    raise ImportError(
        f"Adam's kernel for GPUs needs Triton {'.'.join(map(str, OLDEST))} or later. {_ADVICE}. "
        f"Found: {triton.__version__}"
    )

__all__ = ["tl", "triton"]
