"""What all tests share: Keras's backend, a cache of compiled programs for this session, and Ctrl-C.

Most of the time of a test that trains is compilation, of a few programs again and again. JAX keeps them on disk, in a
folder that is new for each session, so that none is stale, and for each worker, as JAX writes them in place and another
process might read half of one. Processes that a test starts find it in their environment. A program from there is the
compiled one to the byte (`tests/test_program_cache.py`); a test of what compilation itself gives asks for
`compiled_anew`.
"""

import os
import shutil
import signal
import tempfile

import pytest

# Keras reads its backend from the environment when it is first imported: JAX, unless the caller says otherwise.
os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# A job that a shell runs in the background ignores Ctrl-C, and so would every process that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config):
    """Before anything imports JAX, which reads these from the environment."""
    folder = tempfile.mkdtemp(prefix="adamkit-programs-")
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
    os.environ["JAX_COMPILATION_CACHE_DIR"] = folder
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
    # With a bound JAX locks the folder (by filelock), so that no thread reads what another one has half written.
    os.environ["JAX_COMPILATION_CACHE_MAX_SIZE"] = str(2**31)


@pytest.fixture
def compiled_anew(monkeypatch):
    """JAX's cache on disk is off, in this process and in those that it starts."""
    import jax
    from jax.experimental.compilation_cache import compilation_cache

    monkeypatch.setenv("JAX_ENABLE_COMPILATION_CACHE", "false")
    before = jax.config.jax_enable_compilation_cache
    jax.config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()  # JAX looks only once whether there is one
    yield
    jax.config.update("jax_enable_compilation_cache", before)
    compilation_cache.reset_cache()
