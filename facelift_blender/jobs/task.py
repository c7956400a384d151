"""Long work that is not a reconstruction, such as an installation or a download, in a thread of its own.

The work is a function ``work(emit, cancelled)`` of :mod:`facelift_core`: it tells by ``emit(event)`` where it is and
stops by raising Cancelled soon after ``cancelled()`` answers true. Events are plain data:

    progress   stage, fraction in [0, 1], message; left: seconds to the end, if that can be told
    log        line: for people who want to read along
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from facelift_core import Cancelled, FaceLiftError

from .runner import CANCELLED, DONE, FAILED, RUNNING

Event = dict[str, Any]
Work = Callable[[Callable[[Event], None], Callable[[], bool]], Any]

LINES_KEPT = 200
SHUTDOWN_SECONDS = 6.0


@dataclass
class Task:
    """One such work. Only the main thread changes it, in :meth:`poll`; the thread fills the queue.

    Attributes:
        title: for people, such as "Install Runtime".
        work: what to do.
        state: RUNNING, then DONE, FAILED or CANCELLED.
        stage, fraction, message, left: as told last; `left` in seconds or None.
        lines: the last lines of the log.
        result: what `work` returned, in state DONE.
        error: one sentence, in state FAILED.
        started, ended: clock of ``time.monotonic``.
    """

    title: str
    work: Work
    state: str = RUNNING
    stage: str = ""
    fraction: float = 0.0
    message: str = ""
    left: float | None = None
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=LINES_KEPT))
    result: Any = None
    error: str = ""
    started: float = field(default_factory=time.monotonic)
    ended: float | None = None
    cancel: threading.Event = field(default_factory=threading.Event)
    _events: queue.Queue[Event] = field(default_factory=queue.Queue)
    _thread: threading.Thread | None = None

    @property
    def over(self) -> bool:
        return self.state != RUNNING

    @property
    def cancelling(self) -> bool:
        return self.cancel.is_set() and not self.over

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name=f"FaceLift: {self.title}", daemon=True)
        self._thread.start()

    def poll(self) -> bool:
        """Bring the task up to date; whether anything changed."""
        changed = False
        while True:
            try:
                event = self._events.get_nowait()
            except queue.Empty:
                return changed
            changed = True
            self._apply(event)

    def shutdown(self) -> None:
        """Cancel, and wait for the end, but not forever."""
        self.cancel.set()
        if self._thread is not None:
            self._thread.join(SHUTDOWN_SECONDS)
        self.poll()

    def _run(self) -> None:
        try:
            result = self.work(self._events.put, self.cancel.is_set)
        except Cancelled:
            last: Event = {"event": CANCELLED}
        except FaceLiftError as error:
            last = {"event": FAILED, "message": str(error)}
        except Exception as error:
            last = {"event": FAILED, "message": f"An error that should not happen: {type(error).__name__}: {error}"}
        else:
            last = {"event": DONE, "result": result}
        self._events.put(last)

    def _apply(self, event: Event) -> None:
        kind = event["event"]
        if kind == "progress":
            self.stage, self.message = event.get("stage", ""), event.get("message", "")
            self.fraction = min(1.0, max(0.0, event.get("fraction", self.fraction)))
            self.left = event.get("left")
        elif kind == "log":
            self.lines.append(event["line"])
        else:
            self.state, self.ended = kind, time.monotonic()
            self.result, self.error = event.get("result"), event.get("message", "")
