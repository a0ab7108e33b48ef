"""TensorBoard: scalars of each epoch, and hyperparameters for its HParams dashboard.

The records are written by TensorBoard's own protocol buffers and writer, without TensorFlow: its summary functions
import that, for seconds, where it is installed.
"""

import hashlib
import itertools
import json
import os
import socket
import time
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from adamkit.lab.logs.tool import DONE, Run, Tool

_MANY = "runs"  # the folder of those within another
_FILES = "events.out.tfevents.*"
_COUNT = itertools.count()  # of the files of this process, which must differ in their names


class TensorBoard(Tool):
    """Runs in a folder that `tensorboard --logdir FOLDER` shows, with its HParams dashboard.

    A run has a folder of its name, and those of a sweep or comparison one each below it. Runs that differ in `seed`
    alone are a session group, of which the dashboard shows the mean. A run that was there by that name is replaced.

    Args:
        folder: What `--logdir` is given.

    Example:
        >>> import keras, numpy as np, tempfile
        >>> from adamkit import lab
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile(loss="mse")
        >>> folder = tempfile.mkdtemp()
        >>> x = np.random.default_rng(0).random((64, 2), "float32")
        >>> result = lab.train(model, x, x.sum(axis=1), epochs=2, log=lab.logs.TensorBoard(folder))
    """

    package = "tensorboard"

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)

    def begin(self, name: str, parameters: Mapping[str, Any], within: Run | None = None, *, many: bool = False) -> Run:
        """See `Tool.begin`."""
        if within is not None:
            assert isinstance(within, _Run)
            return _Run(self.folder, within.path / _MANY / name.replace("/", "-"), parameters, is_trial=True)
        run = _Run(self.folder, self.folder / name, parameters, is_trial=not many)
        if many:
            run.open()
        return run


class _Run(Run):
    """A file, which is not there before there is a figure to write."""

    def __init__(self, shown: Path, path: Path, parameters: Mapping[str, Any], *, is_trial: bool):
        self._shown, self.path, self._parameters, self._is_trial = shown, path, parameters, is_trial
        self._event, self._writer = _part("compat.proto.event_pb2").Event, _part("summary.writer.record_writer")
        self._file: Any = None
        self._epoch = 0

    def open(self) -> None:
        for file in self.path.rglob(_FILES):
            file.unlink()
        self.path.mkdir(parents=True, exist_ok=True)
        number = f"{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}.{next(_COUNT)}"
        self._file = self._writer.RecordWriter((self.path / _FILES.replace("*", number)).open("wb"))
        self._write(file_version="brain.Event:2")
        described = _hparams(self._parameters) if self._is_trial else _text("parameters", self._parameters)
        self._write(summary=described)

    def add(self, rows: Sequence[Mapping[str, float]]) -> None:
        if self._file is None:
            self.open()
        for row in rows:
            self._epoch = int(row["epoch"])
            self._scalars({name: value for name, value in row.items() if name != "epoch"})

    def end(self, status: str, figures: Mapping[str, float], files: Sequence[Path]) -> None:
        if self._file is None:
            return
        if figures:
            self._scalars(figures)
        if self._is_trial:
            self._write(summary=_hparams_end(status))
        self._file.close()

    @property
    def where(self) -> str:
        return f"tensorboard --logdir {self._shown}, run {self.path.name}"

    def _scalars(self, figures: Mapping[str, float]) -> None:
        summary = _part("compat.proto.summary_pb2").Summary
        values = [summary.Value(tag=name, simple_value=value) for name, value in figures.items()]
        self._write(step=self._epoch, summary=summary(value=values))

    def _write(self, **parts: Any) -> None:
        self._file.write(self._event(wall_time=time.time(), **parts).SerializeToString())
        self._file.flush()  # for a TensorBoard that looks on


def _hparams(parameters: Mapping[str, Any]) -> Any:
    """The summary that makes a run a session of the HParams dashboard, in the group of its parameters but the seed."""
    own = {name: value for name, value in parameters.items() if name != "seed"}
    group = hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()
    info = _part("plugins.hparams.plugin_data_pb2").SessionStartInfo(group_name=group, start_time_secs=time.time())
    for name, value in own.items():
        kind = "bool_value" if isinstance(value, bool) else "string_value" if isinstance(value, str) else "number_value"
        setattr(info.hparams[name], kind, value)
    return _of_hparams("SESSION_START_INFO_TAG", session_start_info=info)


def _hparams_end(status: str) -> Any:
    api = _part("plugins.hparams.api_pb2")
    ended = api.STATUS_SUCCESS if status == DONE else api.STATUS_FAILURE
    info = _part("plugins.hparams.plugin_data_pb2").SessionEndInfo(status=ended, end_time_secs=time.time())
    return _of_hparams("SESSION_END_INFO_TAG", session_end_info=info)


def _of_hparams(tag: str, **info: Any) -> Any:
    metadata, summary = _part("plugins.hparams.metadata"), _part("compat.proto.summary_pb2").Summary
    described = metadata.create_summary_metadata(_part("plugins.hparams.plugin_data_pb2").HParamsPluginData(**info))
    value = summary.Value(tag=getattr(metadata, tag), metadata=described, tensor=metadata.NULL_TENSOR)
    return summary(value=[value])


def _text(tag: str, parameters: Mapping[str, Any]) -> Any:
    """A table in the dashboard of texts."""
    lines = ["| parameter | value |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in parameters.items())]
    tensor = _part("util.tensor_util").make_tensor_proto(["\n".join(lines).encode()])
    described = _part("plugins.text.metadata").create_summary_metadata("", "")
    summary = _part("compat.proto.summary_pb2").Summary
    return summary(value=[summary.Value(tag=tag, metadata=described, tensor=tensor)])


def _part(name: str) -> Any:
    """A module of TensorBoard's; what the generated ones hold no type checker knows."""
    return import_module(f"tensorboard.{name}")
