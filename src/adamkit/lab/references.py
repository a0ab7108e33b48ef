"""A function of the user's, named by `module:function` or `file.py:function`."""

import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from adamkit.lab.errors import InputError, nearest, reason


def is_reference(name: str) -> bool:
    """Whether `name` has the form `module:function` or `file.py:function`."""
    return ":" in name


def call(reference: str, *available: Any) -> Any:
    """Import the function that `reference` names and call it.

    The current directory can be imported from, and so can the directory of a `file.py`. A file is run
    anew at each call.

    Args:
        reference: `module:function` or `file.py:function`.
        *available: Values to offer, in order. The function gets as many of them as it has required positional
            parameters, so a function without any is called with nothing.

    Returns:
        What the function returns.

    Raises:
        InputError: The module, file or function is missing, it cannot be called that way, or it raised an exception,
            which is then the cause of this one.

    Example:
        >>> call("math:sqrt", 9.0)
        3.0
    """
    source, _, function_name = reference.rpartition(":")
    if not source or not function_name:
        raise InputError(f"{reference!r} is no function: write module:function or file.py:function")
    with _importable(source):
        function = _attribute(_module(source), source, function_name)
        wanted = _required_parameters(function)
        if wanted > len(available):
            given = "no argument" if not available else f"{len(available)} at most"
            raise InputError(f"{reference} requires {wanted} arguments; accepted is a function that requires {given}")
        try:
            return function(*available[:wanted])
        except (Exception, SystemExit) as error:
            raise InputError(f"{reference} raised {reason(error)}{_place(error, function)}") from error


@contextmanager
def _importable(source: str) -> Iterator[None]:
    """The current directory, and that of a file, are searched first for modules, as `python -m` and `python` do."""
    before = list(sys.path)
    sys.path[:0] = [str(Path(source).resolve().parent), str(Path.cwd())] if is_file(source) else [str(Path.cwd())]
    try:
        yield
    finally:
        sys.path[:] = before


def is_file(source: str) -> bool:
    """Whether what is before the colon names a file rather than a module."""
    return source.endswith(".py")


def _module(source: str) -> ModuleType:
    try:
        return _run_file(Path(source)) if is_file(source) else importlib.import_module(source)
    except (Exception, SystemExit) as error:
        if isinstance(error, InputError):
            raise
        if isinstance(error, ModuleNotFoundError) and error.name and f"{source}.".startswith(f"{error.name}."):
            near = nearest(source, (path.stem for path in Path.cwd().glob("*.py")))
            raise InputError(f"there is no module {source!r} here or among the installed packages.{near}") from error
        raise InputError(f"{source} could not be imported: {reason(error)}") from error


def _run_file(path: Path) -> ModuleType:
    if not path.is_file():
        what = "is a directory" if path.is_dir() else "does not exist"
        raise InputError(f"the file {path} {what}; file.py:function needs a Python file")
    # A name of its own, so that a user's random.py does not become Python's.
    name = f"adamkit_file_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None  # .py always has one
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and Keras look a class's module up by name
    spec.loader.exec_module(module)
    return module


def _attribute(module: ModuleType, source: str, name: str) -> Callable[..., Any]:
    functions = [n for n, value in vars(module).items() if callable(value) and not n.startswith("_")]
    try:
        value = getattr(module, name)
    except AttributeError:
        raise InputError(f"{source} has no function {name!r}.{nearest(name, functions)}") from None
    if not callable(value):
        raise InputError(f"{name} in {source} is a {type(value).__name__}, not a function")
    return value


def _required_parameters(function: Callable[..., Any]) -> int:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # some functions written in C have no signature
        return 0
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.kind in positional and p.default is p.empty for p in parameters)


def _place(error: BaseException, function: Callable[..., Any]) -> str:
    """Where in the user's own file it went wrong: the deepest such line."""
    own = getattr(getattr(function, "__code__", None), "co_filename", None)
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == own]
    return f" ({Path(own).name}, line {lines[-1]})" if own and lines else ""
