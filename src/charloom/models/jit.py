"""How every kernel is compiled, and where the machine code is kept.

The one file that uses what numba does not promise to keep; as it is in numba 0.61 to 0.68:
- `_nrt=False`, a keyword of `njit`: no reference counting of arrays;
- `no_cpython_wrapper=True` and `pipeline_class`, two more, and a `JITCodeLibrary`, which would make
  machine code of what is compiled, in `_finalize_final_module`, and tell it of a Python object;
- `Dispatcher.compile(types)`, which returns machine code to call without a look at types;
- `CFunc`, which `cfunc` returns, before it is compiled: its cache is replaced first;
- `make_array` of a context and `populate_array`, of which `array_at` makes an array;
- `Dispatcher._cache`, a `FunctionCache`, which lets an `OSError` end the program, and its
  `_cache_file`, an `IndexDataCacheFile`, whose files several processes share safely only with a
  lock.
"""

import fcntl
import hashlib
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from time import time
from typing import Any, TypeVar

import numba
from llvmlite import ir
from numba import types
from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.core.ccallback import CFunc
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.registry import CPUDispatcher
from numba.extending import intrinsic
from numba.np.arrayobj import populate_array

F = TypeVar("F", bound=Callable[..., Any])

# Without nnan and ninf, so that a NaN still shows as one.
_FASTMATH = {"nsz", "arcp", "contract", "afn", "reassoc"}
# "numpy" drops the check for a zero divisor, without which no division is vectorised.
_OPTIONS = {"error_model": "numpy", "no_cfunc_wrapper": True}
_KERNEL = {**_OPTIONS, "fastmath": _FASTMATH, "_nrt": False}
_KERNEL_OF_C = {name: value for name, value in _KERNEL.items() if name != "no_cfunc_wrapper"}
_ADDRESSED: list[Any] = []  # whose machine code is called by address, and so stays
_COMPILING = threading.RLock()  # numba's setting is one for all threads
_SHARED = (
    "jit.py",
    "draw_kernel.py",
    "exp_kernel.py",
    "prefetch.py",
)  # what kernels of other folders are made with
_BUILT_ON = {"mixture": ("compiled", "ngram")}  # folders whose kernels another one's call
_KEPT = 16  # folders of machine code, of some megabytes: a version has three of them
_IN_USE_SECONDS = 24 * 3600.0  # since a folder was last used: it is kept in any case


def kernel(function: F) -> F:
    """Compile `function` on its first call for each set of types; it runs without the GIL.

    It works in arrays that were made beforehand: without numba's reference counting it is
    smaller, faster, and takes half as long to compile.
    """
    return _compile(function, **_KERNEL)


def inner_kernel(function: F) -> F:
    """Compile as `kernel` does, for other kernels alone, each of which has it in its machine code.

    By itself it has none, which halves what there is to compile.
    """
    return _inner(function, _KERNEL)


def inlined_kernel(function: F) -> F:
    """Compile as `kernel` does; into a kernel that calls it, it is copied as source.

    For what is large and called from few places: there it is compiled once, not twice. And for
    every sum whose order fastmath leaves open: of a kernel called by another one there are two
    machine codes, and which of them runs depends on whether they were compiled or loaded.
    """
    return _compile(function, **_KERNEL, inline="always")


def strict_kernel(function: F) -> F:
    """Compile as `kernel` does, in strict floating point, even if one that is not calls it."""
    return _compile(function, **_OPTIONS, fastmath=False, _nrt=False)


def inner_strict_kernel(function: F) -> F:
    """Compile as `strict_kernel` does, for other kernels alone, as an `inner_kernel` is."""
    return _inner(function, {**_KERNEL, "fastmath": False})


def inlined_strict_kernel(function: F) -> F:
    """Compile as `strict_kernel` does; it is copied as source, as an `inlined_kernel` is."""
    return _compile(function, **_OPTIONS, fastmath=False, _nrt=False, inline="always")


def allocating_kernel(function: F) -> F:
    """Compile `function`, which may make and return arrays, in strict floating point."""
    return _compile(function, **_OPTIONS)


def entry(function: F, arguments: tuple[Any, ...]) -> F:
    """Return a kernel's machine code for arguments of the types of these.

    A call to it does not look at types, which takes 6 microseconds for 36 arrays in named
    tuples. So whoever calls it answers for them: other types are memory read wrongly.
    """
    code: F = function.compile(tuple(numba.typeof(argument) for argument in arguments))  # type: ignore[attr-defined]
    return code


def address_of_code(function: Callable[..., None], kinds: tuple[Any, ...]) -> int:
    """Compile `function` as `kernel` does for arguments of these types; return where its code is.

    The code may be called as C's, and stays there as long as the process does.
    """
    compiled = CFunc(function, (kinds, types.void), locals={}, options=_KERNEL_OF_C)
    with _caching(function) as folder:
        if folder is not None:
            compiled.enable_caching()
            _share(compiled)
        compiled.compile()
    _ADDRESSED.append(compiled)
    address = compiled.address
    assert address is not None
    return address


@intrinsic
def array_at(_: Any, zero: Any, address: Any, shape: Any) -> Any:
    """Return the array at an address: in C order, of the type of `zero`.

    Its shape is a tuple of int64.
    """
    kind, word = types.Array(zero, len(shape), "C"), ir.IntType(64)

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array = context.make_array(kind)(context, builder)
        item = ir.Constant(word, context.get_abi_sizeof(context.get_data_type(zero)))
        sizes, strides = [builder.extract_value(args[2], k) for k in range(len(shape))], [item]
        for size in sizes[:0:-1]:
            strides.insert(0, builder.mul(strides[0], size))
        data = builder.inttoptr(args[1], array.data.type)
        populate_array(array, data, sizes, strides, item, meminfo=None)
        return array._getvalue()

    return kind(zero, types.int64, types.UniTuple(types.int64, len(shape))), emit


def _inner(function: F, options: dict[str, Any]) -> F:
    own = {**options, "nogil": True, "no_cpython_wrapper": True}
    compiled: F = numba.njit(function, pipeline_class=_InnerCompiler, **own)
    compiled.__class__ = _Inner
    return compiled


def _compile(function: F, **options: Any) -> F:
    with _caching(function) as folder:
        compiled: F = numba.njit(function, cache=folder is not None, nogil=True, **options)
    if folder is not None:
        _share(compiled)
    return compiled


@contextmanager
def _caching(function: Callable[..., Any]) -> Iterator[str | None]:
    """Have numba look for the machine code of `function` in its folder, and give that if any."""
    with _COMPILING:
        before = numba.config.CACHE_DIR
        folder = before or _cache_folder(Path(function.__code__.co_filename).parent)
        numba.config.CACHE_DIR = folder or before
        try:
            yield folder
        finally:
            numba.config.CACHE_DIR = before


def _share(compiled: Any) -> None:
    compiled._cache.__class__ = _Cache
    compiled._cache._cache_file.__class__ = _SharedFile


class _Inner(CPUDispatcher):  # type: ignore[misc]
    """What numba makes of an `inner_kernel`: there is nothing that Python could call."""

    def __call__(self, *_: Any, **__: Any) -> None:
        raise TypeError(f"{self.py_func.__name__} is there for other kernels alone")


class _InnerCompiler(CompilerBase):  # type: ignore[misc]
    """numba's compiler, into intermediate code alone."""

    def define_pipelines(self) -> list[Any]:
        codegen, name = self.state.targetctx.codegen(), self.state.func_id.func_qualname
        self.state.library = _Intermediate(codegen, name)
        return [DefaultPassBuilder.define_nopython_pipeline(self.state)]


class _Intermediate(JITCodeLibrary):  # type: ignore[misc]
    """Code that is linked into others, and not run."""

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._verify_declare_only_symbols()
        self._finalized = True

    @property
    def codegen(self) -> "_Intermediate":
        return self

    def set_env(self, *_: Any) -> None:
        """Do what the code generator does, where there is machine code."""


class _Cache(FunctionCache):  # type: ignore[misc]
    """numba's cache of one function, which is done without where it cannot be read or written.

    So it may be on a full disk, and may be removed while it is in use.
    """

    def _guard_against_spurious_io_errors(self) -> suppress:
        return suppress(OSError)


class _SharedFile(IndexDataCacheFile):  # type: ignore[misc]
    """numba's cache of one function, for several processes at once.

    numba numbers the files of machine code as it finds them, and two processes that do so at
    once can leave the code for some types under the name of others, for good. What cannot be
    read is compiled anew: a power cut leaves empty files.
    """

    def save(self, key: Any, data: Any) -> None:
        with self._locked():
            super().save(key, data)

    def load(self, key: Any) -> Any:
        if not Path(self._cache_path).is_dir():
            return None
        with self._locked():
            return super().load(key)

    def _load_index(self) -> Any:
        try:
            return super()._load_index()
        except Exception:
            return {}

    def _load_data(self, name: str) -> Any:
        try:
            return super()._load_data(name)
        except Exception as error:
            raise FileNotFoundError(name) from error  # which `load` passes over

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with Path(self._cache_path, ".lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


@cache
def _cache_folder(source: Path) -> str | None:
    """Return a folder named by the hash of a package's source; None if it cannot be written.

    numba itself looks only at the file that holds the compiled function: machine code that
    has another file's function inlined would survive a change there.
    """
    digest, models = hashlib.sha256(), Path(__file__).parent
    shared = (models / name for name in _SHARED)
    below = [source.parent / name for name in _BUILT_ON.get(source.name, ())]
    if models not in (source, source.parent):  # a kernel from elsewhere may call any of ours
        below = sorted(path for path in models.iterdir() if path.is_dir())
    sources = (path for folder in (source, *below) for path in sorted(folder.glob("*.py")))
    for path in (*sources, *shared):
        digest.update(path.read_bytes())
    try:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "charloom")
    except RuntimeError:  # this user has no home
        return None
    folder = base / f"kernels-{digest.hexdigest()[:16]}"
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        os.utime(folder)
        _prune(base)
    return str(folder) if os.access(folder, os.W_OK) else None


def _prune(base: Path) -> None:
    """Remove folders of other versions, but for those used last. Raises OSError."""
    found = (path for path in base.iterdir() if re.fullmatch("kernels-[0-9a-f]{16}", path.name))
    used = {path: path.stat().st_mtime for path in found if not path.is_symlink()}
    for path in sorted(used, key=lambda path: -used[path])[_KEPT:]:
        if used[path] < time() - _IN_USE_SECONDS:
            shutil.rmtree(path, ignore_errors=True)
