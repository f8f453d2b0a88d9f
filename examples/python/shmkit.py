"""Named arrays of shmkit for NumPy, by ctypes over the C ABI: what include/shmkit.h declares.

SHMKIT_LIBRARY says where libshmkit.so.0 is, if the system does not know.
"""

import ctypes
import os
from contextlib import contextmanager

import numpy

library = ctypes.CDLL(os.environ.get("SHMKIT_LIBRARY", "libshmkit.so.0"))
library.shmkit_last_error.restype = ctypes.c_char_p

OK, WOULD_BLOCK, TIMED_OUT, POISONED = range(4)


class Wait(ctypes.Structure):
    _fields_ = [("until", ctypes.c_int64)]


class Type(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("size", ctypes.c_size_t), ("align", ctypes.c_size_t)]


assert ctypes.sizeof(Wait) == 8 and ctypes.sizeof(Type) == 24

FOREVER = Wait(2**63 - 1)
library.shmkit_timeout.restype = Wait
library.shmkit_timeout.argtypes = [ctypes.c_double]
for name in "lock", "recover":
    getattr(library, f"shmkit_array_{name}").argtypes = [ctypes.c_void_p, Wait]

NUMBERS = {"i8": "int8", "i16": "int16", "i32": "int32", "i64": "int64", "u8": "uint8", "u16": "uint16",
           "u32": "uint32", "u64": "uint64", "f32": "float32", "f64": "float64", "bool": "bool"}


class Error(Exception):
    def __init__(self, status):
        self.status = status
        self.pid = library.shmkit_last_pid()
        super().__init__(library.shmkit_last_error().decode())


def check(status):
    if status != OK:
        raise Error(status)


def elements(owner):
    """What lies behind the handle of `owner`, for NumPy: no copy, and the memory stays as long as a view of it."""

    def ask(what, *places):
        check(getattr(library, f"shmkit_{owner._kind}_{what}")(owner._handle, *places))

    of, data = Type(), ctypes.c_void_p()
    shape, rank = (ctypes.c_size_t * 8)(), ctypes.c_size_t()
    ask("type", ctypes.byref(of))
    ask("shape", shape, ctypes.c_size_t(8), ctypes.byref(rank))
    ask("data", ctypes.byref(data))
    shape = tuple(shape[: rank.value])
    dtype = numpy.dtype(NUMBERS[of.name.decode()])
    count = int(numpy.prod(shape)) * dtype.itemsize
    if count == 0:
        return numpy.empty(shape, dtype)
    buffer = (ctypes.c_char * count).from_address(data.value)
    buffer.owner = owner
    return numpy.frombuffer(buffer, dtype).reshape(shape)


class Handle:
    """A handle of C, which is closed when nobody has it any more: not even a view of its memory."""

    def __init__(self, kind, *where):
        self._kind, self._handle = kind, ctypes.c_void_p()
        check(getattr(library, f"shmkit_{kind}_open")(*where, None, ctypes.byref(self._handle)))

    def __del__(self):
        getattr(library, f"shmkit_{self._kind}_close")(self._handle)


class Array:
    """An array that somebody made under a name, or in a file if there is a slash in it. `numpy` is a view, no copy."""

    def __init__(self, name):
        self._array = Handle("array", None, name.encode())
        self.numpy = elements(self._array)

    @contextmanager
    def lock(self, timeout=None):
        """Holds the lock of the array. Error with status POISONED if a process died with it."""
        with self._held("lock", timeout):
            yield self.numpy

    @contextmanager
    def recover(self, timeout=None):
        """The same, if a process died with it too. What this leaves without an exception is whole again."""
        with self._held("recover", timeout):
            yield self.numpy
            check(library.shmkit_array_clear_poison(self._array._handle))

    @contextmanager
    def _held(self, how, timeout):
        handle = self._array._handle
        wait = FOREVER if timeout is None else library.shmkit_timeout(timeout)
        check(getattr(library, f"shmkit_array_{how}")(handle, wait))
        try:
            size = ctypes.c_size_t()
            check(library.shmkit_array_len(handle, ctypes.byref(size)))
            if size.value != self.numpy.size:  # it has grown
                self.numpy = elements(self._array)
            yield
        finally:
            check(library.shmkit_array_unlock(handle))


class View:
    """An array, a value or atomics of a name or file, in memory that cannot be written. There is no lock in this:
    others may write while `numpy` is read."""

    def __init__(self, name):
        self.numpy = elements(Handle("view", name.encode()))
        self.numpy.flags.writeable = False
