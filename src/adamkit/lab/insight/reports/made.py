"""How a run was made, from what its `run.json` says: sections that every report ends with."""

import dataclasses
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from adamkit.lab.insight.reports.page import Section
from adamkit.lab.runs.folder import DONE

if TYPE_CHECKING:
    from adamkit.lab.runs import Settings


def sections(record: Mapping[str, Any], command: str | None) -> list[Section]:
    """The command that repeats a run, its settings, data and versions."""
    settings = {name: value for name, value in record["settings"].items() if value is not None}
    data, model = (record.get(part, {}) for part in ("data", "model"))
    rows = [("settings", name, _value(value)) for name, value in settings.items()]
    rows += [("data", name, _value(value)) for name, value in data.items() if name in _OF_DATA and value]
    rows += [("model", name, f"{value:,}") for name, value in model.items() if name == "parameters"]
    rows += [("model", name, _value(record[name])) for name in ("loss", "metrics") if record.get(name)]
    rows += [("versions", name, str(version)) for name, version in record.get("versions", {}).items()]
    rows += [("machine", "", record["machine"])] if "machine" in record else []
    rows += [("started", "", record["started"])] if "started" in record else []
    table = pd.DataFrame(rows, columns=["of", "name", "value"], dtype=str)
    repeated = [Section("The command that repeats it", code=command)] if command else []
    return [*repeated, Section("Settings, data and versions", table=table, folded=True)]


_OF_DATA = ("rows", "validation_rows", "row_shape", "target", "fingerprint")


def command(name: str, options: Mapping[str, Any]) -> str:
    """The command line `adamkit NAME` with these options by their names in Python."""
    words = ["adamkit", name]
    for option, value in options.items():
        flag = option.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            text = ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
            # An option's value that begins with a dash is only taken for one after an equals sign.
            words += [f"--{flag}={text}"] if text.startswith("-") else [f"--{flag}", text]
    return shlex.join(words)


def changed(settings: "Settings") -> dict[str, Any]:
    """The settings that are not their defaults."""
    return {
        field.name: getattr(settings, field.name)
        for field in dataclasses.fields(settings)
        if getattr(settings, field.name) != field.default
    }


def subject(record: Mapping[str, Any]) -> str:
    """Which model on which data, without folders."""
    settings = record["settings"]
    model, data = (Path(str(settings.get(name, "?"))).name for name in ("model", "data"))
    return f"{model} on {data}"


def unfinished(record: Mapping[str, Any], what: str) -> str | None:
    """What the reader must know of a run that did not come to its end."""
    status = record.get("status")
    if status in DONE:
        return None
    if status == "interrupted":
        return f"The {what} was cut off. This page shows what was finished."
    if status == "failed":
        return f"The {what} failed. This page shows what was finished before."
    return f"The {what} was still running when this page was made, or was ended by force. It shows what was finished."


def duration(seconds: float) -> str:
    """Seconds in words."""
    if seconds < 60:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} hours"


def _value(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
