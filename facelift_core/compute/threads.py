"""How the threads of a computation wait for each other."""

from __future__ import annotations

import os

SPINS = 1000


def share_cores() -> None:
    """Let threads that wait for one another soon give their core away. Counts only before PyTorch is imported.

    GNU's OpenMP looks 300,000 times first, which another program's share of the cores turns into many times the work:
    beside one busy program on two cores, ten steps of `mini` at niceness 5 took more than 40 s in place of 2.4; alone,
    1.3 either way. Whoever has said how threads are to wait is left alone.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", str(SPINS))
