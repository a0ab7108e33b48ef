"""The command line in the tests' own process."""

import sys

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache

from adamkit import cli


@pytest.fixture(scope="session")
def _cache_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def not_the_users_own_cache(_cache_folder, monkeypatch):
    """What a command, in this process or in one of its own, keeps on disk is of this session alone."""
    monkeypatch.setenv("ADAMKIT_CACHE", str(_cache_folder))


@pytest.fixture
def command_line(monkeypatch, capsys):
    """Runs `adamkit` with arguments: (exit code, standard output, standard error)."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["adamkit", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code or 0, *capsys.readouterr()

    return run


@pytest.fixture(scope="module")
def each_program_compiled_once(tmp_path_factory):
    """JAX's cache on disk: most of the time of these short runs is compilation, of a few programs again and again."""
    options = {
        "jax_compilation_cache_dir": str(tmp_path_factory.mktemp("programs")),
        "jax_persistent_cache_min_compile_time_secs": 0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    before = {name: getattr(jax.config, name) for name in options}
    for name, value in options.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()
