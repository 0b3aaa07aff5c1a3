from __future__ import annotations

from degsynth.data.cache import Cache


def test_the_least_recently_used_value_leaves_first() -> None:
    cache = Cache(10)
    for name in "abc":
        cache.put("image", name, name.upper(), 3)
    assert cache.get("image", "a") == "A"
    cache.put("image", "d", "D", 4)
    assert [cache.get("image", name) for name in "abcd"] == ["A", None, "C", "D"]
    assert (len(cache), cache.used) == (3, 10)


def test_kinds_are_kept_apart_and_values_are_not_replaced() -> None:
    cache = Cache(10)
    cache.put("decoded", "a", 1, 2)
    cache.put("registered", "a", 2, 2)
    cache.put("decoded", "a", 3, 5)
    assert (cache.get("decoded", "a"), cache.get("registered", "a"), cache.used) == (1, 2, 4)
    assert cache.get("decoded", "b") is None


def test_a_value_larger_than_the_budget_is_not_kept() -> None:
    cache = Cache(10)
    cache.put("image", "small", 1, 4)
    cache.put("image", "large", 2, 11)
    assert (cache.get("image", "large"), cache.get("image", "small")) == (None, 1)
    cache.put("image", "whole", 3, 10)
    assert (cache.get("image", "whole"), cache.get("image", "small")) == (3, None)
    nothing = Cache(0)
    nothing.put("image", "a", 1, 1)
    assert len(nothing) == 0
