"""The two exceptions that callers of :mod:`facelift_core` need to know."""


class FaceLiftError(Exception):
    """Something a person can act on; ``str(error)`` is one clear sentence that says what and what to do."""


class Cancelled(FaceLiftError):
    """The caller's ``cancelled()`` answered true; everything the run held has been released."""

    def __init__(self, message: str = "Cancelled."):
        super().__init__(message)
