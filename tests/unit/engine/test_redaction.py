from __future__ import annotations

from groundwork.engine.redaction import MASK, Redactor


def test_masks_every_value_and_longest_first() -> None:
    redact = Redactor(["canary-one", "canary-one-and-more"])
    assert redact("a canary-one-and-more b canary-one") == f"a {MASK} b {MASK}"


def test_leaves_short_values_alone() -> None:
    assert Redactor(["ab", ""])("ab is a word") == "ab is a word"


def test_masks_private_keys_that_span_lines() -> None:
    lines = ["+ -----BEGIN PRIVATE KEY-----", "+ MIIcanary", "+ -----END PRIVATE KEY-----", "+ end"]
    shown = "\n".join(Redactor().lines(lines))
    assert "canary" not in shown
    assert shown.endswith("+ end")


def test_masks_each_line_of_a_value_with_several() -> None:
    assert Redactor(["first-line\nsecond-line"])("- second-line") == f"- {MASK}"
