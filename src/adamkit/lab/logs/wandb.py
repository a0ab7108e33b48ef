"""Weights & Biases: a run in a project, those of a sweep or comparison a group."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from adamkit.lab.logs.tool import DONE, Run, Tool, check_name


class WandB(Tool):
    """Runs in a project of Weights & Biases.

    All else is as W&B's own environment says: `WANDB_MODE=offline` writes to disk what `wandb sync` sends later,
    `WANDB_DIR` says where, `WANDB_ENTITY` in whose name.

    Args:
        project: Its name. Default: `WANDB_PROJECT`, or `"adamkit"`.

    Raises:
        ValueError: `project` is no name (`InputError`).
    """

    package = "wandb"

    def __init__(self, project: str | None = None):
        check_name("project", project)
        self.project = project

    def begin(self, name: str, parameters: Mapping[str, Any], within: Run | None = None, *, many: bool = False) -> Run:
        """See `Tool.begin`."""
        assert isinstance(within, _Run | None)
        group = name if many else within.group if within is not None else None
        return _Run(self.project or os.environ.get("WANDB_PROJECT", "adamkit"), name, parameters, group, many=many)


class _Run(Run):
    def __init__(self, project: str, name: str, parameters: Mapping[str, Any], group: str | None, *, many: bool):
        import wandb

        self._wandb, self.group = wandb, group
        self._run = wandb.init(
            project=project,
            name=name,
            group=group,
            job_type=None if group is None else "overview" if many else "run",
            config=dict(parameters),
            reinit="create_new",  # beside others of this process, the user's own too
            settings=wandb.Settings(console="off", silent=True),
        )

    def add(self, rows: Sequence[Mapping[str, float]]) -> None:
        for row in rows:
            self._run.log({name: value for name, value in row.items() if name != "epoch"}, step=int(row["epoch"]))

    def end(self, status: str, figures: Mapping[str, float], files: Sequence[Path]) -> None:
        self._run.summary.update(dict(figures))
        if files:
            artifact = self._wandb.Artifact(f"run-{self._run.id}", type="run")
            for file in files:
                artifact.add_file(str(file))
            self._run.log_artifact(artifact)
        self._run.finish(exit_code=0 if status == DONE else 1)

    @property
    def where(self) -> str:
        if self._run.offline:
            return f"offline, to send with: wandb sync {Path(self._run.dir).parent}"
        return str(self._run.url)
