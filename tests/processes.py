"""Python in a process of its own, without the seconds that it takes to import Keras.

When the tests begin, a process for each backend starts and waits. Asked by a test, of whichever worker, it imports
Keras and the lab, and forks. The child has the streams, the environment and the folder of who asked, runs a module or
code as `python -m` and `python -c` do, and ends as Python does.

A test of what is imported when, or of what Python or a framework reads as it starts, wants `subprocess` instead; so
does one for which sets of texts are to have another order in each process: children share the seed of their hashes.
"""

import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import selectors
import signal
import socket
import subprocess
import sys
import threading
import types
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

FOLDER = Path(os.environ.get("ADAMKIT_CACHE", ""))  # of this session
MODULES = {
    "jax": ("keras", "sklearn.datasets", "adamkit.cli.sweep_display", "adamkit.lab.sweeping.sweeper"),
    "tensorflow": ("tensorflow", "keras", "adamkit.lab.runs.training"),
}
HANGS = 600  # seconds, after which a process is taken for dead


class Process:
    """Python with arguments, first `-m` and a module or `-c` and code: what tests use of `subprocess.Popen`."""

    def __init__(self, *arguments, backend="jax", cwd=None, env=None, stdout=subprocess.PIPE, stderr=subprocess.PIPE):
        self.returncode = None
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.connect(str(FOLDER / backend))
        self.stdout, its_stdout = _pipe() if stdout == subprocess.PIPE else (None, os.dup(stdout))
        self.stderr, its_stderr = _pipe() if stderr == subprocess.PIPE else (None, os.dup(stderr))
        socket.send_fds(self._connection, [b" "], [0, its_stdout, its_stderr])
        os.close(its_stdout)
        os.close(its_stderr)
        request = arguments, str(cwd or Path.cwd()), dict(os.environ if env is None else env)
        self._connection.sendall(json.dumps(request).encode() + b"\n")
        self._answers = self._connection.makefile()
        answer = self._answers.readline()
        assert answer, f"the process that forks has ended: {(FOLDER / backend).with_suffix('.log').read_text()}"
        self.pid = int(answer)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for pipe in (self.stdout, self.stderr):
            if pipe is not None:
                pipe.close()
        self.wait()

    def wait(self, timeout=HANGS):
        """Its exit code, which is negative for a signal, once it has ended."""
        if self.returncode is None:
            if not select.select([self._connection], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("python", timeout)
            self.returncode = int(self._answers.readline())
            self._answers.close()
            self._connection.close()
        return self.returncode

    def poll(self):
        """Its exit code, or None as long as it runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def send_signal(self, number):
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                os.kill(self.pid, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)

    def communicate(self):
        """Standard output and error, from here to its end; one that hangs is killed."""
        hangs = threading.Timer(HANGS, self.kill)
        hangs.daemon = True
        hangs.start()
        with self, ThreadPoolExecutor() as pool:
            said = list(pool.map(lambda pipe: pipe and pipe.read(), (self.stdout, self.stderr)))
        hangs.cancel()
        return said


def run(*arguments, check=False, **options):
    """As `subprocess.run`."""
    process = Process(*arguments, **options)
    done = subprocess.CompletedProcess(arguments, 0, *process.communicate())
    done.returncode = process.returncode
    assert not check or done.returncode == 0, done.stderr
    return done


def _pipe():
    to_read, to_write = os.pipe()
    return os.fdopen(to_read), to_write


def start_servers(folder):
    """The processes that fork, which end when what is returned is called, or when this process ends."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    servers = []
    for backend in MODULES:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(Path(folder, backend)))
            listener.listen()
            with Path(folder, f"{backend}.log").open("w") as log:
                server = subprocess.Popen(
                    [sys.executable, "-m", "tests.processes", backend, str(listener.fileno())],
                    cwd=Path(__file__).parents[1],
                    env=environment | {"KERAS_BACKEND": backend},
                    pass_fds=[listener.fileno()],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                )
            servers.append(server)

    def stop():
        for server in servers:
            server.stdin.close()
            server.wait()

    return stop


def serve(listener, modules):
    """Fork for each who connects, and tell it the exit code, until standard input ends; the child returns arguments."""
    ended, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal, where the children's callers have it too
    connections = {}
    with selectors.DefaultSelector() as selector:
        for source in (0, ended, listener):
            selector.register(source, selectors.EVENT_READ)
        while True:
            ready = [key.fileobj for key, _ in selector.select()]
            if 0 in ready:
                sys.exit()
            if ended in ready:
                os.read(ended, 1000)
                while (process := _one_that_ended()) is not None:
                    with connections.pop(process[0]) as connection:
                        _tell(connection, process[1])
            if listener in ready:
                for module in modules:
                    importlib.import_module(module)
                connection, _ = listener.accept()
                try:
                    _, streams, _, _ = socket.recv_fds(connection, 1, 3)
                    with connection.makefile() as request:
                        arguments, folder, environment = json.loads(request.readline())
                except (OSError, ValueError):  # who asked is gone
                    connection.close()
                    continue
                gc.freeze()  # so that children neither copy nor look at what is there
                if child := os.fork():
                    connections[child] = connection
                    _tell(connection, child)
                    for stream in streams:
                        os.close(stream)
                    continue
                break
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    for other in (ended, wake, *streams):
        os.close(other)
    for other in (listener, *connections.values()):
        other.close()
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout = sys.__stdout__ = os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.__stderr__ = os.fdopen(2, "w", 1, errors="backslashreplace", closefd=False)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    if "jax" in sys.modules:
        _set_as_in_the_environment(sys.modules["jax"].config)
    connection.close()
    return arguments


def _tell(connection, number):
    """Who asked, if it is still there."""
    with contextlib.suppress(OSError):
        connection.sendall(f"{number}\n".encode())


def _one_that_ended():
    """(Number, exit code) of a child; None where there is none."""
    try:
        child, status = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return None
    return (child, os.waitstatus_to_exitcode(status)) if child else None


def _set_as_in_the_environment(config):
    """JAX read it when it was imported."""
    for name, value in config.values.items():
        if (text := os.environ.get(name.upper())) is not None:
            of_text = {bool: lambda text: text.lower() in ("1", "true", "on"), int: int, float: float}
            config.update(name, of_text.get(type(value), str)(text))


if __name__ == "__main__":
    how, what, *rest = serve(socket.socket(fileno=int(sys.argv[2])), MODULES[sys.argv[1]])
    sys.argv = [how, *rest]
    sys.path[0] = "" if how == "-c" else str(Path.cwd())
    if how == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        sys.modules["__main__"] = main = types.ModuleType("__main__")
        exec(compile(what, "<string>", "exec"), vars(main))
