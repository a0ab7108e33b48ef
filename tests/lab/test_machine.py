"""The memory that a process may take is the least of what the machine and its control groups leave; its processor."""

import os

import pytest

from adamkit.lab import machine

V2, V1 = "sys/fs/cgroup", "sys/fs/cgroup/memory"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 1_024_000),
        ({"proc/self/cgroup": "0::/\n", f"{V2}/memory.max": "max\n"}, 1_024_000),
        ({"proc/self/cgroup": "0::/\n", f"{V2}/memory.max": "5000\n"}, 5000),
        ({"proc/self/cgroup": "0::/a/b\n", f"{V2}/a/memory.max": "6000\n", f"{V2}/a/b/memory.max": "max\n"}, 6000),
        ({"proc/self/cgroup": "0::/of/the/host\n", f"{V2}/memory.max": "7000\n"}, 7000),
        ({"proc/self/cgroup": "0::/../..\n", f"{V2}/memory.max": "7000\n", "sys/memory.max": "1\n"}, 7000),
        ({"proc/self/cgroup": "3:cpu:/x\n9:memory:/x\n", f"{V1}/x/memory.limit_in_bytes": "8000\n"}, 8000),
        ({"proc/self/cgroup": "9:memory:/x\n", f"{V1}/memory.limit_in_bytes": f"{2**63 - 4096}\n"}, 1_024_000),
    ],
)  # fmt: skip
def test_limits(tmp_path, files, expected):
    for name, text in ({"proc/meminfo": "MemTotal: 9 kB\nMemAvailable: 1000 kB\n"} | files).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert machine.free_memory(tmp_path) == expected


def test_a_machine_that_does_not_say(tmp_path):
    assert machine.free_memory(tmp_path) == machine.UNKNOWN


def test_the_processor_is_named_with_its_cores():
    assert machine.processor().endswith(f", {machine.cores()} cores")
    assert 1 <= machine.cores() <= (os.cpu_count() or 1)
