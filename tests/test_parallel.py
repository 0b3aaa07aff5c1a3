from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

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
