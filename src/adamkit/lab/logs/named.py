"""The tools by the names that `--log` takes."""

from collections.abc import Iterable
from pathlib import Path

from adamkit.lab.errors import InputError, nearest
from adamkit.lab.logs.mlflow import MLflow
from adamkit.lab.logs.tensorboard import TensorBoard
from adamkit.lab.logs.tool import Tool
from adamkit.lab.logs.wandb import WandB

NAMES = ("tensorboard", "mlflow", "wandb")


def names_in(text: str | None) -> list[str]:
    """The names of tools in a list with commas, each once; InputError where one is unknown."""
    names = [] if text is None else list(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if name not in NAMES:
            accepted = ", ".join(NAMES)
            raise InputError(f"log must be among {accepted}. Received: log={name!r}.{nearest(name, NAMES)}")
    return names


def named(names: Iterable[str], folder: Path) -> list[Tool]:
    """Tools by name, for a run that is kept in `folder`: TensorBoard's events are written there."""
    tools = {"tensorboard": lambda: TensorBoard(folder.resolve().parent), "mlflow": MLflow, "wandb": WandB}
    return [tools[name]() for name in names]
