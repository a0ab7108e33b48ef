"""What all tests share: Keras's backend, a cache of compiled programs for this session, a browser, and Ctrl-C.

Most of the time of a test that trains is compilation, of a few programs again and again. They are kept on disk as
`adamkit`'s commands keep theirs, in a folder that is new for each session, so that none is stale, and that all workers
and the commands that they start share. A program from there gives the bits of one that is compiled
(`tests/test_program_cache.py`); a test of what compilation itself gives asks for `compiled_anew`.

XLA optimizes the programs of tests with the mark `optimized` as it does a user's: those that hold bits which depend on
it. It spares the others most of that, and with it five sixths of their time.
"""

import contextlib
import gc
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import hypothesis
import pytest

# `--hypothesis-profile=many`: examples by the thousand, other ones each time; tests/lab/test_damage.py is for it.
hypothesis.settings.register_profile(
    "many", max_examples=2000, deadline=None, suppress_health_check=list(hypothesis.HealthCheck)
)

# Keras reads its backend from the environment when it is first imported: JAX, unless the caller says otherwise.
os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Kernels for GPUs run on the CPU: Triton reads this when it is first imported. TRITON_INTERPRET=0 is for a GPU.
os.environ.setdefault("TRITON_INTERPRET", "1")
# Threads that wait for work do not spin: other workers of the tests want the cores. Read when NumPy is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# TensorFlow and Triton have an LLVM each, and Triton's ends the process if it is the second ("inconsistency in
# registered CommandLine options").
with contextlib.suppress(ImportError):
    import triton  # noqa: F401

# A job that a shell runs in the background ignores Ctrl-C, and one under nohup a terminal that goes away. So would
# every process that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


# What JAX_DISABLE_MOST_OPTIMIZATIONS leaves on, which takes longer than all that it turns off.
SPARED = {"xla_cpu_use_fusion_emitters": False, "xla_cpu_parallel_codegen_split_count": 1}
# One operation on arrays, outside of a program of the user's: it has one result, however it is compiled.
PLAIN = {
    f"jit_{operation}"
    for operation in (
        *("add", "subtract", "multiply", "true_divide", "negative", "abs", "square", "maximum", "minimum", "_where"),
        *("equal", "not_equal", "less", "less_equal", "greater", "greater_equal", "select_n", "copy", "iota"),
        *("bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_left_shift", "bitwise_right_shift", "left_shift"),
        *("right_shift", "isfinite", "_pad", "convert_element_type", "bitcast_convert_type", "unstack"),
        *("broadcast_in_dim", "reshape", "transpose", "squeeze", "concatenate", "slice", "dynamic_slice", "gather"),
    )
}
GIVEN_FLAGS = os.environ.get("XLA_FLAGS", "")


def pytest_configure(config):
    """The folder is the main process's to make; its workers find it in the environment."""
    if not hasattr(config, "workerinput"):
        folder = tempfile.mkdtemp(prefix="adamkit-tests-")
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
        os.environ["ADAMKIT_CACHE"] = folder
        os.environ.pop("JAX_COMPILATION_CACHE_DIR", None)  # the user's own, which commands would use instead
        from tests import processes

        config.add_cleanup(processes.start_servers(folder))
    runs_tests = hasattr(config, "workerinput") or not config.getoption("numprocesses", None)
    if runs_tests and os.environ["KERAS_BACKEND"] == "jax":
        from adamkit.lab.training.compiled_programs import keep_on_disk

        assert keep_on_disk()
        _keep_in_memory_too()
        _spare_programs_too()


def _keep_in_memory_too():
    """Have this process load each program from disk once."""
    from jax._src import compilation_cache

    programs, load = {}, compilation_cache.get_executable_and_time

    def get_executable_and_time(key, *rest):
        found = programs.get(key) or load(key, *rest)
        if found[0] is not None:
            programs[key] = found
        return found

    compilation_cache.get_executable_and_time = get_executable_and_time


def _spare_programs_too():
    """Have this process compile with `SPARED` while JAX disables most optimizations, and `PLAIN` operations always."""
    import jax
    from jax._src import compiler

    options_of, compile_or_get = compiler.get_compile_options, compiler.compile_or_get_cached
    options_of(num_replicas=1, num_partitions=1)  # XLA reads XLA_FLAGS now, and not what tests set there

    def get_compile_options(*arguments, env_options_overrides=None, **others):
        if jax.config.values["jax_disable_most_optimizations"]:
            env_options_overrides = SPARED | (env_options_overrides or {})
        return options_of(*arguments, env_options_overrides=env_options_overrides, **others)

    def compile_or_get_cached(backend, program, devices, options, *rest):
        if str(program.operation.attributes["sym_name"]).strip('"') in PLAIN:
            debugging = options.executable_build_options.debug_options
            debugging.xla_backend_optimization_level, debugging.xla_llvm_disable_expensive_passes = 0, True
            options.env_option_overrides = [*options.env_option_overrides, *SPARED.items()]
        return compile_or_get(backend, program, devices, options, *rest)

    compiler.get_compile_options, compiler.compile_or_get_cached = get_compile_options, compile_or_get_cached


def pytest_collection_finish():
    """Spare the garbage collector the millions of objects of four frameworks, which are there until the end.

    And have it look for new ones less often.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def pytest_unconfigure():
    """At the end libraries look for what was not collected."""
    gc.unfreeze()


@pytest.hookimpl(tryfirst=True)  # before fixtures compile anything
def pytest_runtest_setup(item):
    """Have XLA optimize the test's programs, or not; those of the test before are forgotten where that changes.

    TensorFlow's own XLA reads flags once in a process, so that on its backend no test is `optimized`.
    """
    spared = item.get_closest_marker("optimized") is None or os.environ["KERAS_BACKEND"] != "jax"
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = str(int(spared))
    flags = [f"--{name}={str(value).lower()}" for name, value in SPARED.items()] if spared else []
    os.environ["XLA_FLAGS"] = " ".join([GIVEN_FLAGS, *flags]).strip()
    if (jax := sys.modules.get("jax")) is not None and jax.config.values["jax_disable_most_optimizations"] != spared:
        jax.config.update("jax_disable_most_optimizations", spared)
        jax.clear_caches()


@pytest.fixture
def compiled_anew():
    """Nothing is kept on disk, by this process and by those that it starts."""
    import jax
    from jax.experimental.compilation_cache import compilation_cache

    from adamkit.lab.training.compiled_programs import keep_on_disk

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADAMKIT_CACHE", "off")
        jax.config.update("jax_enable_compilation_cache", False)
        compilation_cache.reset_cache()  # JAX looks only once whether there is one
        yield
    jax.config.update("jax_enable_compilation_cache", True)
    compilation_cache.reset_cache()
    assert keep_on_disk()


CHROMIUM = Path("/usr/bin/chromium")  # Debian's, which `make test` installs where it may
OPTIONS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
]


@pytest.fixture(scope="session")
def browser():
    """Headless Chromium, one a session."""
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not installed (Debian: apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def ray_cluster():
    """A Ray cluster with two cores for tasks, which this process is connected to; one a session."""
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    from tests.lab.sweeping.ray_cluster import forking

    # What scales a cluster, and what shows its workers' logs here, have nothing to do.
    head = {"num_cpus": 2, "include_dashboard": False, "include_log_monitor": False, "no_monitor": True}
    with pytest.MonkeyPatch.context() as patch, forking():
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_health_check_period_ms", "200")  # a node is gone when five in a row find nobody
        cluster = Cluster(initialize_head=True, head_node_args=head)
        ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    yield cluster
    ray.shutdown()
    cluster.shutdown()
