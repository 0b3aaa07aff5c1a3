"""Stages of threads joined by bounded queues: items go in at one end and come out at the other, finished or failed."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

MOST_WORKERS = 128
POLL_S = 0.1
"""How long a waiting thread takes to notice that the consumer has left."""


@dataclass(frozen=True)
class Stage:
    """One kind of work and how many threads do it."""

    work: Callable[[Any], Any]
    """Takes what the stage before returned; what it returns goes on to the next."""
    threads: int


@dataclass(frozen=True)
class Finished:
    """An item that left the last stage, or fell out of one."""

    item: Any
    """As it went in."""
    result: Any = None
    """What the last stage returned."""
    error: Exception | None = None
    """What a stage raised; the stages behind it did not see the item."""


class _Left(Exception):  # noqa: N818
    """The consumer has gone."""


def stream(
    items: Iterable[Any], stages: Sequence[Stage], on_leave: Callable[[], None] = lambda: None
) -> Iterator[Finished]:
    """Push ``items`` through ``stages``; yield them as they are done, in any order.

    A queue holds as many items as the stage behind it has threads, so memory is bounded. When the consumer closes the
    generator, or an exception passes through it, the threads finish what they hold and end before it returns;
    ``on_leave`` is called before they are waited for, so that work that takes long can end early. An exception of
    ``items`` itself is raised here, after what went in before has come out.
    """
    queues: list[queue.Queue[Any]] = [queue.Queue(max(1, stage.threads)) for stage in stages]
    queues.append(queue.Queue())
    left = threading.Event()
    trouble: list[Exception] = []

    def put(target: queue.Queue[Any], value: Any) -> None:
        while not left.is_set():
            try:
                return target.put(value, timeout=POLL_S)
            except queue.Full:
                continue
        raise _Left

    def get(source: queue.Queue[Any]) -> Any:
        while not left.is_set():
            try:
                return source.get(timeout=POLL_S)
            except queue.Empty:
                continue
        raise _Left

    def supply() -> None:
        try:
            for item in items:
                put(queues[0], Finished(item, item))
        except _Left:
            return
        except Exception as error:  # handed to the consumer, who can do something about it
            trouble.append(error)
        finally:
            for _ in range(stages[0].threads):
                if not left.is_set():
                    put_end(queues[0])

    def put_end(target: queue.Queue[Any]) -> None:
        try:
            put(target, None)
        except _Left:
            return

    def labour(number: int, remaining: list[int], lock: threading.Lock) -> None:
        work, inbox, outbox = stages[number].work, queues[number], queues[number + 1]
        try:
            while (current := get(inbox)) is not None:
                if current.error is None:
                    try:
                        current = Finished(current.item, work(current.result))
                    except Exception as error:  # one item's failure is its result, never the end of the stream
                        current = Finished(current.item, error=error)
                put(outbox, current)
        except _Left:
            return
        with lock:
            remaining[0] -= 1
            last = remaining[0] == 0
        if last:  # every thread of the next stage gets an end mark of its own
            for _ in range(stages[number + 1].threads if number + 1 < len(stages) else 1):
                put_end(outbox)

    threads = [threading.Thread(target=supply, daemon=True)]
    for number, stage in enumerate(stages):
        remaining, lock = [stage.threads], threading.Lock()
        threads += [
            threading.Thread(target=labour, args=(number, remaining, lock), daemon=True) for _ in range(stage.threads)
        ]
    for thread in threads:
        thread.start()
    try:
        while (done := queues[-1].get()) is not None:
            yield done
        if trouble:
            raise trouble[0]
    finally:
        left.set()
        on_leave()
        for thread in threads:
            thread.join()
