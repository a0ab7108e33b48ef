"""Experiments with Adam: train a model and see what each epoch and each hyperparameter does."""

from adamkit.lab.train import TrainResult, train

__all__ = ["TrainResult", "train"]
