"""Work on many images at a time, by threads: decoders, encoders and torch release the GIL."""

from __future__ import annotations

import contextlib
import os
import threading
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Generic, TypeVar

from degsynth.errors import is_out_of_memory

MAX_WORKERS = 128
"""Largest number of threads that a user may ask for."""
PATIENCE_S = 5.0
"""Seconds between two looks whether the threads that are waited for are still there."""

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
) -> Generator[Finished[Item, Result], None, None]:
    """Call ``work`` on every item in ``workers`` threads; yield the items as they finish, in any order.

    At most ``2 · workers`` items are under way, so memory is bounded. When the consumer closes the generator, or an
    exception passes through it, items that no thread has taken up are dropped and the others are waited for;
    ``on_leave`` is called before that, so that long work can end early. An exception raised by ``items`` itself is
    raised here, after all items before it have been yielded. Where the system grants fewer threads, there are fewer;
    MemoryError where it grants none, or where a thread had no memory even to say that its work has ended.
    """
    source, failure = iter(items), None
    running: dict[Future[Result], Item] = {}
    with _Threads(workers) as threads:
        pool = threads.pool
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
                done = wait(running, PATIENCE_S, return_when=FIRST_COMPLETED).done
                for future in done:
                    yield _finished(running.pop(future), future)
                if not done:
                    threads.check()
        finally:
            if running:
                on_leave()
            for future in running:
                future.cancel()
    if failure is not None:
        raise failure


class _Threads:
    """Threads that wait for work. All of them are started at once, so that it is known how many there can be."""

    def __init__(self, most: int) -> None:
        self._name = f"work {uuid.uuid4().hex}"
        self._count = most
        self.pool = self._start()

    def _start(self) -> ThreadPoolExecutor:
        while True:
            pool, all_there = ThreadPoolExecutor(self._count, self._name), threading.Event()
            try:
                for _ in range(self._count):
                    pool.submit(all_there.wait)  # a thread that waits takes no other work, so the next needs a new one
            except (RuntimeError, MemoryError) as error:
                all_there.set()
                pool.shutdown(cancel_futures=True)
                if not is_out_of_memory(error) or self._count == 1:
                    raise
                self._count //= 2
            else:
                return pool
            finally:
                all_there.set()

    def check(self) -> None:
        """Raise MemoryError where a thread has died: what it was doing would be waited for for ever."""
        if sum(thread.name.startswith(self._name) for thread in threading.enumerate()) < self._count:
            raise MemoryError("a thread ended in the middle of its work")

    def __enter__(self) -> _Threads:
        return self

    def __exit__(self, *error: object) -> None:
        self.pool.shutdown()


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
