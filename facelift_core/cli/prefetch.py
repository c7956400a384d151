"""Prefetching: prepare the next item in a thread while the current one is processed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Prepared = TypeVar("Prepared")


def prefetch(items: Iterable[Item], prepare: Callable[[Item], Prepared]) -> Iterator[tuple[Item, Future[Prepared]]]:
    """Yield each item with a future for ``prepare(item)``.

    A single thread stays one item ahead of the consumer, so at most two prepared items are in memory.
    """
    pool = ThreadPoolExecutor(1, "prepare")
    try:
        waiting: tuple[Item, Future[Prepared]] | None = None
        for item in items:
            coming = item, pool.submit(prepare, item)
            if waiting is not None:
                yield waiting
            waiting = coming
        if waiting is not None:
            yield waiting
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
