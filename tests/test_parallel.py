from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future

import pytest

from degsynth import parallel
from degsynth.parallel import stream


def test_everything_comes_out_once_finished_or_failed() -> None:
    def third(n: int) -> int:
        if n % 3 == 0:
            raise ValueError(f"not {n}")
        return n

    done = list(stream(range(50), third, 3))
    assert sorted(d.item for d in done) == list(range(50))
    for d in done:
        if d.item % 3 == 0:
            assert str(d.error) == f"not {d.item}"
        else:
            assert d.result == d.item


def test_nothing_in_nothing_out() -> None:
    assert list(stream([], str, 2)) == []


def test_no_more_is_held_than_the_queues_allow() -> None:
    """Slow work holds the source back: memory is bounded."""
    fed: list[int] = []

    def slow(n: int) -> int:
        time.sleep(0.02)
        return n

    def numbers() -> Iterator[int]:
        for n in range(60):
            fed.append(n)
            yield n

    for count, _ in enumerate(stream(numbers(), slow, 1), 1):
        assert len(fed) <= count + 2


def test_a_consumer_that_leaves_leaves_no_thread_behind() -> None:
    before = threading.active_count()
    running = stream(range(1000), int, 2)
    next(running)
    running.close()
    assert threading.active_count() == before


def test_work_that_takes_long_hears_that_the_consumer_has_left() -> None:
    left = threading.Event()
    done = stream(iter(range(3)), lambda item: item == 0 or left.wait(30), 2, left.set)
    assert next(done).result is True
    begun = time.monotonic()
    done.close()
    assert time.monotonic() - begun < 10


def test_an_exception_of_the_consumer_ends_the_threads_too() -> None:
    before = threading.active_count()
    running = stream(range(1000), int, 2)

    def consume() -> None:
        for _ in running:
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        consume()
    running.close()
    assert threading.active_count() == before


def test_an_exception_of_the_source_comes_after_what_went_in() -> None:
    def source() -> Iterator[int]:
        yield 1
        yield 2
        raise RuntimeError("the list is damaged")

    seen = []

    def consume() -> None:
        for done in stream(source(), int, 2):
            seen.append(done.result)

    with pytest.raises(RuntimeError, match="damaged"):
        consume()
    assert sorted(seen) == [1, 2]


@pytest.mark.parametrize("granted", [1, 3])
def test_a_system_that_grants_few_threads(granted: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """There are fewer, and everything is done."""
    start = threading.Thread.start
    before = threading.active_count()

    def limited(thread: threading.Thread) -> None:
        if threading.active_count() - before >= granted:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    done = list(stream(range(50), str, 8))
    assert sorted(d.item for d in done) == list(range(50))
    assert threading.active_count() == before


def test_a_system_that_grants_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    with pytest.raises(RuntimeError, match="start new thread"):
        list(stream(range(50), str, 8))


def test_a_thread_that_dies_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A thread without the memory to hand over its result ends, and the result never comes."""
    monkeypatch.setattr(parallel, "PATIENCE_S", 0.05)

    def no_memory(future: Future[int], result: int) -> None:
        if result == 3:
            raise MemoryError
        set_result(future, result)

    set_result = Future.set_result
    monkeypatch.setattr(Future, "set_result", no_memory)
    monkeypatch.setattr(Future, "set_exception", no_memory_at_all)
    with pytest.raises(MemoryError):
        list(stream(range(5), int, 1))


def no_memory_at_all(future: Future[int], error: BaseException) -> None:
    raise MemoryError
