from __future__ import annotations

from degsynth.cli.methods import rewrapped

DOCSTRING = """one: a method that is described in a line that is longer than forty columns.

The formula is as it stands::

    lr  =  (kernel ⋆ hr)↓s, however long the line of the formula may be

It says ``this``:

- an item that is longer than forty columns, too;
- a short one.

::

    kept
"""


def test_paragraphs_are_wrapped_and_formulas_are_kept() -> None:
    assert (
        rewrapped(DOCSTRING, 40)
        == """one: a method that is described in a
line that is longer than forty columns.

The formula is as it stands:

    lr  =  (kernel ⋆ hr)↓s, however long the line of the formula may be

It says `this`:

- an item that is longer than forty
  columns, too;
- a short one.

    kept"""
    )
