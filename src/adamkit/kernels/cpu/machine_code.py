"""Numba functions as C functions, kept on disk as machine code.

Numba's own disk cache needs all of Numba loaded before it can be read, which costs half a second in each process. What
is kept here is the object file of a function that refers to nothing but itself: a process that finds it loads it
through llvmlite alone, in milliseconds.
"""

import contextlib
import ctypes
import hashlib
import importlib.metadata
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from adamkit import cache
from adamkit.kernels.cpu import internals

_ENTRY = "adamkit_kernel"
_HARMLESS = {"sqrt", "sqrtf"}  # what an object file may refer to: the C library's, which every process has


class Kernel(NamedTuple):
    """A compiled C function of one pointer."""

    call: Callable[[int], None]  # releases the interpreter lock
    address: int
    code: Any  # keeps the machine code in memory


def kernel(name: str, sources: list[Path], build: Callable[[], Any]) -> Kernel:
    """The compiled function of that name: from disk, or compiled now and, where possible, kept on disk.

    Args:
        name: Of the function; part of a file name.
        sources: The files that define it; a change in one of them makes what is on disk stale.
        build: Returns the Python function for Numba: of one argument, a pointer to int64, which it may read and write.
    """
    folders = _folders()
    file_name = f"{name}-{_fingerprint(sources)}.o"
    for folder in folders:
        # A file that cannot be read, or is none of ours, is as good as none.
        with contextlib.suppress(ValueError, RuntimeError):
            if (found := cache.read(folder / file_name)) is not None:
                return _load(found)
    function = build()
    try:
        machine_code, keep = _compile(function)
        loaded = _load(machine_code)
    except Exception:  # another LLVM may know another intermediate language: Numba's own way is slower but always works
        return _compiled_by_numba(function)
    refused = None
    for folder in folders if keep else ():
        try:
            cache.write(folder / file_name, machine_code)
            break
        except cache.NotPrivateError as error:
            refused = f"compiled kernels are not kept in {folder}: {error}"
        except OSError:
            continue
    else:
        if refused is not None:
            cache.warn(refused)
    return loaded


def _compile(function: Any) -> tuple[bytes, bool]:
    """The function as an object file, and whether another process can use that."""
    import llvmlite.binding as llvm
    import numba

    compile_for: Any = numba.njit  # its type stub knows not all options
    compiled = compile_for(
        "void(CPointer(int64))", error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True
    )(function)
    native, source = internals.native_function(compiled)
    # Numba's calling convention has two more pointers, for a result and an exception; there is neither.
    module = llvm.parse_assembly(
        f"""
        declare i32 @"{native}"(ptr, ptr, ptr)
        define void @{_ENTRY}(ptr %job) {{
            %result = alloca ptr
            %exception = alloca ptr
            %status = call i32 @"{native}"(ptr %result, ptr %exception, ptr %job)
            ret void
        }}
        """
    )
    module.link_in(llvm.parse_assembly(source))
    module.verify()
    outside = {f.name for f in module.functions if f.is_declaration and not f.name.startswith("llvm.")}
    return _target_machine().emit_object(module), outside <= _HARMLESS


def _load(machine_code: bytes) -> Kernel:
    import llvmlite.binding as llvm

    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _target_machine())
    engine.add_object_file(llvm.ObjectFileRef.from_data(machine_code))
    engine.finalize_object()
    address = engine.get_function_address(_ENTRY)
    if not address:
        raise ValueError(f"the object file has no function {_ENTRY}")
    return Kernel(ctypes.CFUNCTYPE(None, ctypes.c_void_p)(address), address, engine)


def _compiled_by_numba(function: Any) -> Kernel:
    import numba

    compile_for: Any = numba.cfunc
    compiled = compile_for("void(CPointer(int64))", error_model="numpy")(function)
    return Kernel(ctypes.CFUNCTYPE(None, ctypes.c_void_p)(compiled.address), compiled.address, compiled)


def _target_machine() -> Any:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_triple(llvm.get_process_triple())
    return target.create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=3, jit=True
    )


# On disk -------------------------------------------------------------------------------------------------------------


def _folders() -> list[Path]:
    """Where object files are kept, in the order in which the places are tried."""
    if cache.is_off():
        return []
    if os.environ.get("NUMBA_CACHE_DIR"):
        places = [cache.chosen("NUMBA_CACHE_DIR")]
    else:
        beside = Path(__file__).parent
        # Where somebody else has installed the package, or a group shares it, each user has kernels of their own.
        places = [beside / "__pycache__" if cache.is_private(beside) else None, cache.folder()]
    return [place for place in places if place is not None]


def _fingerprint(sources: list[Path]) -> str:
    """Changes with everything that the machine code depends on."""
    import llvmlite.binding as llvm

    digest = hashlib.sha256()
    for part in (
        *(importlib.metadata.version(package) for package in ("numba", "llvmlite")),
        llvm.get_process_triple(),
        llvm.get_host_cpu_name(),
        llvm.get_host_cpu_features().flatten(),
    ):
        digest.update(part.encode() + b"\0")
    for source in (*sources, Path(__file__)):
        with contextlib.suppress(OSError):
            digest.update(source.read_bytes())
    return digest.hexdigest()[:32]
