"""The generated reference."""

from __future__ import annotations

from pathlib import Path

from groundwork.manifest.reference import MARKER, render_reference, renew_reference

DOCUMENT = Path(__file__).parents[3] / "docs/manifest.md"


def test_the_committed_reference_is_current() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert text == renew_reference(text), "run: python -m groundwork.manifest.reference docs/manifest.md"


def test_each_key_has_a_meaning_or_speaks_for_itself() -> None:
    reference = render_reference()
    assert "| `ready_timeout` | duration, from 1 to 3 600 seconds | `1m` | Time a process may take" in reference
    assert "| `schema` | text |" in reference
    assert "configuration_schema" not in reference


def test_text_before_the_mark_is_kept() -> None:
    assert renew_reference(f"mine\n{MARKER} x -->\nold\n").startswith(f"mine\n{MARKER} x -->\n\n## Words")
    assert "old" not in renew_reference(f"mine\n{MARKER} x -->\nold\n").split("## Words")[0]
