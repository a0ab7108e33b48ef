"""Tools that people keep runs in: TensorBoard, MLflow and Weights & Biases, each through its own public client.

`adamkit.lab.train`, `sweep` and `compare` take one or several as `log`, the commands names of them as `--log`. A tool
is imported when there is something to send. One that is not installed, cannot be reached or fails is a warning, and
the run goes on without it.
"""

from adamkit.lab.logs.mlflow import MLflow
from adamkit.lab.logs.tensorboard import TensorBoard
from adamkit.lab.logs.tool import Run, Tool
from adamkit.lab.logs.wandb import WandB

__all__ = ["MLflow", "Run", "TensorBoard", "Tool", "WandB"]
