"""Imports point one way: cli, play → lab → optimizer → rule, and no file imports, through others, itself.

Imports inside of functions count too, for they make a circle that only waits to be found. Those under `TYPE_CHECKING`
do not: nothing happens at them.
"""

import ast
import functools
import graphlib
import importlib.util
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"
LAYERS = [
    {"rule", "variants", "moments", "rounding", "arrays", "functional", "cache", "guards", "findings"}
    | {"prodigy", "carried", "description", "blockwise"},
    {"kernels", "keras", "torch", "optax", "conversion"},
    {"lab"},
    {"cli", "play"},
    {"__main__"},
]


def name_of(file):
    parts = file.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {name_of(file): file for file in SOURCE.rglob("*.py")}


def statements(node):
    """All parts of a syntax tree that are executed at some time."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            for other in child.orelse:
                yield other
                yield from statements(other)
        else:
            yield child
            yield from statements(child)


def packages_of(name):
    """a.b.c: a and a.b, which are imported first."""
    parts = name.split(".")
    return {".".join(parts[:n]) for n in range(1, len(parts))}


@functools.cache
def imports(name):
    """The files of ours that a file imports, and the packages that they are in, but for those that it is in itself."""
    found = set()
    for node in statements(ast.parse(FILES[name].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: imports have the whole name"
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {one if one in FILES else str(node.module) for one in whole}
    found = {one for one in found if one.partition(".")[0] == "adamkit"}
    assert found <= FILES.keys(), f"{name} imports {found - FILES.keys()}"
    around = set().union(*(packages_of(one) for one in found)) - packages_of(name)
    return (found | around) - {name, "adamkit"}  # the package itself is empty until it is asked for something


def circle_in(graph):
    """The names along a circle, or None."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return " imports ".join(reversed(error.args[1]))
    return None


def test_no_file_imports_itself_through_others():
    assert circle_in({name: imports(name) for name in FILES}) is None


def test_a_circle_would_be_found():
    assert circle_in({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": set()}) in (
        "a imports b imports c imports a",
        "b imports c imports a imports b",
        "c imports a imports b imports c",
    )
    code = "if TYPE_CHECKING:\n    import a\nelse:\n    import b\ndef f():\n    import c\n"
    found = [alias.name for node in statements(ast.parse(code)) if isinstance(node, ast.Import) for alias in node.names]
    assert found == ["b", "c"]


def layer(name):
    (found,) = (i for i, rooms in enumerate(LAYERS) if name.split(".")[1] in rooms)
    return found


@pytest.mark.parametrize("name", sorted(FILES.keys() - {"adamkit"}))
def test_imports_point_one_way(name):
    for other in imports(name):
        assert layer(other) <= layer(name), f"{name} imports {other}"


def test_the_rule_is_below_all_and_the_package_itself_imports_nothing():
    assert imports("adamkit.rule") == {"adamkit.variants"}
    assert imports("adamkit.variants") == set()
    assert imports("adamkit") == set()


@pytest.mark.slow
@pytest.mark.parametrize("room", ["benchmarks", "examples"])
def test_what_is_run_by_hand_imports_what_there_is(room):
    """Most of their imports stand in functions, which no test of the suite calls."""
    for file in (SOURCE.parent / room).glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and str(node.module).partition(".")[0] == "adamkit":
                module = importlib.import_module(str(node.module))
                for alias in node.names:
                    found = hasattr(module, alias.name) or importlib.util.find_spec(f"{node.module}.{alias.name}")
                    assert found, f"{file.name}: {ast.unparse(node)}"
