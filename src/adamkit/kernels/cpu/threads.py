"""The threads that share a step.

All tensors of a step are one range of elements, cut into equal pieces whatever the sizes of the tensors. The threads
are those of PyTorch's own OpenMP runtime where it can be found, which costs microseconds and never competes with the
threads of the backward pass; elsewhere, and in a forked child (where that runtime may hang), they are Python threads
that run without the interpreter lock. Each thread takes the next piece until none is left.
"""

import os
import queue
import threading

from adamkit.kernels.cpu.internals import openmp
from adamkit.kernels.cpu.machine_code import Kernel


def run(kernel: Kernel, job: int, threads: int) -> None:
    """Let so many threads work on the job, this one among them."""
    if threads == 1:
        kernel.call(job)
        return
    parallel = None if _forked else openmp()
    if parallel is not None:
        parallel(kernel.address, job, threads, 0)
    else:
        _run_on_python_threads(kernel, job, threads)


_waiting: list[queue.SimpleQueue] = []  # the job queues of the Python threads that have nothing to do
_forked = False


def _run_on_python_threads(kernel: Kernel, job: int, threads: int) -> None:
    done: queue.SimpleQueue = queue.SimpleQueue()
    helpers = [_helper() for _ in range(threads - 1)]
    for helper in helpers:
        helper.put((kernel, job, done))
    kernel.call(job)
    for _ in helpers:
        done.get()
    _waiting.extend(helpers)


def _helper() -> queue.SimpleQueue:
    """The job queue of a thread that has nothing to do; the caller alone has it until it puts it back."""
    try:
        return _waiting.pop()
    except IndexError:
        jobs: queue.SimpleQueue = queue.SimpleQueue()
        threading.Thread(target=_help, args=(jobs,), name="adamkit", daemon=True).start()
        return jobs


def _help(jobs: queue.SimpleQueue) -> None:
    while True:
        kernel, job, done = jobs.get()
        kernel.call(job)
        done.put(None)


def _forget_threads() -> None:
    """After a fork, in the child: no thread but this one exists, and OpenMP may wait for the lost ones for ever."""
    global _forked
    _forked = True
    _waiting.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)
