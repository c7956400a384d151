"""Exceptions raised by :mod:`facelift_core`."""

import errno


class FaceLiftError(Exception):
    """An error that the user can act on; ``str(error)`` is one sentence that says what is wrong and what to do."""


class Cancelled(Exception):
    """The caller's ``cancelled()`` returned true. The run has released everything it held."""

    def __init__(self, message: str = "Cancelled."):
        super().__init__(message)


def first_line(error: BaseException) -> str:
    """The first line of another library's error, for a sentence of ours; its class name if it has no message."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


OUT_OF_MEMORY = (
    "Not enough memory; close other programs that use it, raise this program's limit, or use smaller weights."
)
_SIGNS = (
    "out of memory",
    "allocate memory",
    "not enough memory",
    "failed to allocate",
    "insufficient memory",
    "bad_alloc",
    "could not create a primitive",  # oneDNN
    "failed to map segment",  # a library that is loaded
    "can't start new thread",
)


def ran_out_of_memory(error: BaseException) -> bool:
    """Return whether an error of any library says that memory ran out, or that a limit on it was reached."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    return any(sign in str(error).lower() for sign in _SIGNS)
