"""Exceptions raised by :mod:`facelift_core`."""


class FaceLiftError(Exception):
    """An error that the user can act on; ``str(error)`` is one sentence that says what is wrong and what to do."""


class Cancelled(FaceLiftError):
    """The caller's ``cancelled()`` returned true. The run has released everything it held."""

    def __init__(self, message: str = "Cancelled."):
        super().__init__(message)
