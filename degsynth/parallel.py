"""Work on many images at a time, by threads: decoders, encoders and torch release the GIL."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Generic, TypeVar

MAX_WORKERS = 128
"""Largest number of threads that a user may ask for."""

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Finished(Generic[Item, Result]):
    """An item whose work has ended, with its result or with the error that the work raised."""

    item: Item
    result: Result | None = None
    error: Exception | None = None


def stream(
    items: Iterable[Item],
    work: Callable[[Item], Result],
    workers: int,
    on_leave: Callable[[], None] = lambda: None,
) -> Iterator[Finished[Item, Result]]:
    """Call ``work`` on every item in ``workers`` threads; yield the items as they finish, in any order.

    At most ``2 · workers`` items are under way, so memory is bounded. When the consumer closes the generator, or an
    exception passes through it, items that no thread has taken up are dropped and the others are waited for;
    ``on_leave`` is called before that, so that long work can end early. An exception raised by ``items`` itself is
    raised here, after all items before it have been yielded.
    """
    source, failure = iter(items), None
    running: dict[Future[Result], Item] = {}
    with ThreadPoolExecutor(workers) as pool:
        try:
            exhausted = False
            while running or not exhausted:
                while not exhausted and len(running) < 2 * workers:
                    try:
                        item = next(source)
                    except StopIteration:
                        exhausted = True
                    except Exception as error:  # raised below, once what went in before has come out
                        exhausted, failure = True, error
                    else:
                        running[pool.submit(work, item)] = item
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    yield _finished(running.pop(future), future)
        finally:
            on_leave()
            for future in running:
                future.cancel()
    if failure is not None:
        raise failure


def _finished(item: Item, future: Future[Result]) -> Finished[Item, Result]:
    error = future.exception()
    if error is None:
        return Finished(item, future.result())
    if isinstance(error, Exception):  # the failure of one item is its result, never the end of the stream
        return Finished(item, error=error)
    raise error


@contextlib.contextmanager
def one_torch_thread() -> Iterator[None]:
    """Within this context torch uses one thread for an operation.

    Sums are then added up in the same order everywhere, and torch's threads do not compete with ours.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def usable_cores() -> int:
    """Count the cores that this process may use; a batch system may grant fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
