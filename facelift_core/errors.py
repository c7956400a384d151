"""Exceptions raised by :mod:`facelift_core`."""


class FaceLiftError(Exception):
    """An error that the user can act on; ``str(error)`` is one sentence that says what is wrong and what to do."""


class Cancelled(Exception):
    """The caller's ``cancelled()`` returned true. The run has released everything it held."""

    def __init__(self, message: str = "Cancelled."):
        super().__init__(message)


def first_line(error: BaseException) -> str:
    """The first line of another library's error, for a sentence of ours; its class name if it has no message."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
