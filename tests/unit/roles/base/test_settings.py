from __future__ import annotations

from typing import Any

import pytest

from groundwork.problems import ProblemError
from roles.base.settings import HostSettings, read_settings

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGmZ5Yw0s7c0Y3Xv7m1bq4nQ8kq0oE0a1b2c3d4e5f6g alice"


def test_nothing_given_means_the_defaults() -> None:
    assert read_settings({"environment": "lab", "locale": None}, "web1") == HostSettings()


def test_sizes_and_durations_are_written_as_in_a_manifest() -> None:
    settings = read_settings({"journal_maximum": "2GiB", "journal_retention": "7d"}, "web1")
    assert (settings.journal_maximum, settings.journal_retention) == (2 * 1024**3, 7 * 86400)


@pytest.mark.parametrize(
    ("data", "key"),
    [
        ({"locale": "de"}, "locale"),
        ({"timezone": "../../etc/passwd"}, "timezone"),
        ({"journal_maximum": "many"}, "journal_maximum"),
        ({"security_upgrades": "yes"}, "security_upgrades"),
        ({"security_upgrades_reboot": "25:00"}, "security_upgrades_reboot"),
        ({"held_packages": ["Bad Name"]}, "held_packages.0"),
        ({"time_servers": ["a b"]}, "time_servers.0"),
        ({"operators": {"root": {"keys": [KEY]}}}, "operators"),
        ({"operators": {"Alice": {"keys": [KEY]}}}, "operators.Alice"),
        ({"operators": {"alice": {"keys": []}}}, "operators.alice.keys"),
        ({"operators": {"alice": {"keys": [f"{KEY}\nssh-rsa AAAAB"]}}}, "operators.alice.keys"),
        ({"operators": {"alice": {"keys": [f'command="x" {KEY}']}}}, "operators.alice.keys"),
        ({"operators": {"alice": {"keys": [KEY], "shell": "zsh"}}}, "operators.alice.shell"),
    ],
)
def test_a_wrong_value_is_named_by_its_key(data: dict[str, Any], key: str) -> None:
    with pytest.raises(ProblemError) as caught:
        read_settings(data, "web1")
    assert [(problem.file, problem.key) for problem in caught.value.problems] == [("host web1", key)]


def test_all_wrong_values_are_told_at_once() -> None:
    with pytest.raises(ProblemError) as caught:
        read_settings({"locale": "de", "time_servers": "x"}, "web1")
    assert {problem.key for problem in caught.value.problems} == {"locale", "time_servers"}


def test_a_key_is_never_shown() -> None:
    private = "-----BEGIN OPENSSH PRIVATE KEY-----"
    with pytest.raises(ProblemError) as caught:
        read_settings({"operators": {"alice": {"keys": [private]}}}, "web1")
    assert private not in str(caught.value)
