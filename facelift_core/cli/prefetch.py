"""Prefetching: prepare the next items in a thread while the current ones are processed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Prepared = TypeVar("Prepared")


def prefetch(
    items: Iterable[Item], prepare: Callable[[Item], Prepared], ahead: int = 1
) -> Iterator[tuple[Item, Future[Prepared]]]:
    """Yield each item with a future for ``prepare(item)``.

    A single thread stays `ahead` items ahead of the consumer, so at most one more prepared item is in memory.
    """
    pool = ThreadPoolExecutor(1, "prepare")
    try:
        waiting: deque[tuple[Item, Future[Prepared]]] = deque()
        for item in items:
            waiting.append((item, pool.submit(prepare, item)))
            if len(waiting) > ahead:
                yield waiting.popleft()
        yield from waiting
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
