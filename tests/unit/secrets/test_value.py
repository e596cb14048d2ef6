from __future__ import annotations

import copy
import json
import pickle

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pyinfra.api.command import StringCommand

from groundwork.secrets.value import MASK, SecretValue, refuse_masked

TEXT = "canary-9f2c71"


@given(st.text(alphabet=st.characters(min_codepoint=33), min_size=8))
def test_no_rendering_shows_the_value(text: str) -> None:
    # What every rendering shows is nobody's secret.
    other = SecretValue("another-value")
    assume(text not in f"{other}{other!r}{[other]!r}{other:>40}")
    value = SecretValue(text)
    for shown in (str(value), repr(value), f"{value}", f"{value:>40}", f"{value!s}{value!r}", repr([value])):
        assert text not in shown
    assert value.reveal() == text


def test_serialising_is_refused() -> None:
    value = SecretValue(TEXT)
    with pytest.raises(TypeError):
        json.dumps({"password": value})
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError):
            pickle.dumps(value, protocol)
    assert not hasattr(value, "__dict__")


def test_copies_stay_secret_and_equal() -> None:
    value = SecretValue(TEXT)
    assert copy.deepcopy({"a": value})["a"] is value
    assert copy.copy(value) is value
    assert value == SecretValue(TEXT)
    assert value != SecretValue(TEXT + "x")
    assert value != TEXT
    assert len({value, SecretValue(TEXT)}) == 1


def test_hidden_value_is_masked_in_a_printed_command_only() -> None:
    command = StringCommand("echo", SecretValue(TEXT).hide())
    assert command.get_masked_value() == f"echo {MASK}"
    assert command.get_raw_value() == f"echo {TEXT}"


def test_a_masked_text_is_refused() -> None:
    with pytest.raises(ValueError, match=r"redis\.conf"):
        refuse_masked(f"requirepass {SecretValue(TEXT)}", "redis.conf")
    assert refuse_masked("requirepass x") == "requirepass x"
