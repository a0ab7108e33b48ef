"""Python code that a run's record names, and whether this user has run it here before.

A `run.json` names functions, and may be somebody else's. What a user names on the command line is run, and noted in the
user's cache folder, where nobody else can write (`adamkit.cache`): its place and its content. What a record names is
run only if it is noted there.
"""

import contextlib
import hashlib
import sys
from collections.abc import Iterable
from importlib.machinery import PathFinder
from pathlib import Path

from adamkit import cache
from adamkit.lab import references
from adamkit.lab.errors import InputError


def note(names: Iterable[str]) -> None:
    """Note the functions among some names of data sets and models, which this user has given."""
    folder = cache.folder()
    for name in names:
        if folder is not None and references.is_reference(name):
            with contextlib.suppress(OSError):  # then it is asked for the next time
                cache.write(folder / "code" / _seal(name), b"")


def check(names: Iterable[str], record: Path) -> None:
    """InputError for a function among the names in a record whose code was not run here before as it is now."""
    folder = cache.folder()
    for name in names:
        if not references.is_reference(name):
            continue
        if folder is None or cache.read(folder / "code" / _seal(name)) is None:
            file = next(iter(_files(name)[::-1]), name.rpartition(":")[0])
            raise InputError(
                f"{record} names code that is new here or has changed since it was run: {name} in {file}. Read it, and "
                "give --trust-code to run it"
            )


def _seal(name: str) -> str:
    """SHA-256 of which code that is, where, and what stands in it."""
    source, _, function = name.rpartition(":")
    digest = hashlib.sha256(function.encode(errors="surrogateescape"))
    for file in _files(name) or [Path(source)]:
        digest.update(b"\0" + str(file).encode(errors="surrogateescape") + b"\0")
        with contextlib.suppress(OSError):
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def _files(name: str) -> list[Path]:
    """The files that are run when it is imported, without importing anything: the packages of a module, and itself."""
    source = name.rpartition(":")[0]
    if references.is_file(source):
        return [Path(source).resolve()]
    files, places = [], [str(Path.cwd()), *sys.path]
    for part in source.split("."):
        spec = PathFinder.find_spec(part, places)
        if spec is None:
            break
        if spec.origin is not None:
            files.append(Path(spec.origin).resolve())
        places = list(spec.submodule_search_locations or ())
    return files
