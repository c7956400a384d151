"""Preparing the next item while the current one is worked on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Prepared = TypeVar("Prepared")


def prepared_ahead(
    items: Iterable[Item], prepare: Callable[[Item], Prepared]
) -> Iterator[tuple[Item, Future[Prepared]]]:
    """Each item with its ``prepare(item)``, whose result or error the future gives.

    A thread prepares one item more than has been taken, so that no more than two prepared ones are in memory.
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
