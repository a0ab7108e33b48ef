"""The rule again as one pass over memory, by hardware: `cpu` (Numba)."""
