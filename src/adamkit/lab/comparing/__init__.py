"""Optimizers side by side, each with settings of its own, on the same starts and the same data."""
