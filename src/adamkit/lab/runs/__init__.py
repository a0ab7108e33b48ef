"""Runs from names and numbers alone, in folders, so that they can be read, repeated and taken up again."""

from adamkit.lab.runs.training import (
    Prepared,
    Settings,
    again,
    changes,
    check_code,
    check_same_data,
    differences,
    execute,
    extended,
    first_difference,
    prepare,
    trained,
)

__all__ = [
    "Prepared",
    "Settings",
    "again",
    "changes",
    "check_code",
    "check_same_data",
    "differences",
    "execute",
    "extended",
    "first_difference",
    "prepare",
    "trained",
]
