"""The list of controls in the docs is the present one."""

from __future__ import annotations

from docs.list_controls import PAGE, place


def test_the_page_lists_the_controls() -> None:
    page = PAGE.read_text()
    assert place(page) == page, "run: python docs/list_controls.py"
