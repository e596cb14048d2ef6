"""What a running Redis answers, held against its files."""

from __future__ import annotations

import pytest

from roles.redis.programs.redis_settings import list_differences, list_user_differences, read_file, read_users

FILE = """\
# maxmemory 1
maxmemory 64mb
maxmemory-clients 25%
save 3600 1
save 300 100
client-output-buffer-limit normal 256mb 64mb 60
client-output-buffer-limit replica 256mb 64mb 60
tls-protocols "TLSv1.2 TLSv1.3"
logfile ""
repl-backlog-size 1M
include /etc/redis/login.conf
masterauth hidden
future-setting yes
"""
RUNNING = {
    "maxmemory": "67108864",
    "maxmemory-clients": "25%",
    "save": "3600 1 300 100",
    "client-output-buffer-limit": "slave 268435456 67108864 60 normal 268435456 67108864 60",
    "tls-protocols": "TLSv1.2 TLSv1.3",
    "logfile": "",
    "repl-backlog-size": "1000000",
    "masterauth": "another",
    "hz": "10",
}


def test_a_server_that_goes_by_its_file_has_no_differences() -> None:
    assert list(list_differences(read_file(FILE), RUNNING)) == []


@pytest.mark.parametrize(
    ("name", "there"),
    [
        ("maxmemory", "0"),
        ("save", ""),
        ("save", "3600 1"),
        ("client-output-buffer-limit", "normal 0 0 0 slave 268435456 67108864 60"),
        ("logfile", "/tmp/log"),
    ],
)
def test_what_somebody_set_is_found(name: str, there: str) -> None:
    wanted = read_file(FILE)
    assert list(list_differences(wanted, {**RUNNING, name: there})) == [(name, wanted[name], there)]


def test_no_saving_at_all_is_an_empty_text() -> None:
    assert read_file('save ""\n') == {"save": ""}


USERS = ["user default off resetpass ~* &* +@all", "user seller on resetpass #ab resetkeys ~s:* +@all -@admin +info"]
LISTED = [
    "user default off sanitize-payload ~* &* +@all",
    "user seller on sanitize-payload #ab ~s:* resetchannels +@all -@admin +info",
]


def test_users_that_are_as_declared_are_no_difference() -> None:
    assert list(list_user_differences(read_users(USERS), read_users(LISTED))) == []


@pytest.mark.parametrize(
    ("listed", "told"),
    [
        ([*LISTED, "user intruder on nopass ~* &* +@all"], ["a user that is not declared: intruder"]),
        (LISTED[:1], ["no user seller"]),
        ([LISTED[0].replace("off", "on nopass"), LISTED[1]], ["other rights of user default"]),
        ([LISTED[0], LISTED[1].replace("#ab", "#ab #cd")], ["other rights of user seller"]),
        ([LISTED[0], LISTED[1].replace("-@admin +info", "+info -@admin")], ["other rights of user seller"]),
        ([LISTED[0], LISTED[1].replace("~s:*", "~*")], ["other rights of user seller"]),
    ],
)
def test_users_and_rights_that_somebody_gave_are_found(listed: list[str], told: list[str]) -> None:
    assert list(list_user_differences(read_users(USERS), read_users(listed))) == told


@pytest.mark.parametrize("whole", [True, False])
def test_the_order_of_single_commands_says_nothing(whole: bool) -> None:
    given = read_users(["user one on resetpass #ab resetkeys resetchannels -@all +auth +ping +client|list"], whole)
    listed = read_users(["user one on #ab resetchannels -@all +client|list +ping +auth"], whole)
    more = read_users(["user one on #ab resetchannels -@all +client|list +ping +auth +get"], whole)
    assert list(list_user_differences(given, listed)) == []
    assert list(list_user_differences(given, more)) == ["other rights of user one"]


def test_what_an_old_redis_lists_in_words_of_its_own_is_compared_as_far_as_that_goes() -> None:
    listed = [LISTED[0], LISTED[1].replace("-@admin +info", "-@admin -keys +role -flushall")]
    assert list(list_user_differences(read_users(USERS, False), read_users(listed, False))) == []
    for rules in ("+@all", "+get", ""):
        given = [LISTED[0], LISTED[1].replace("+@all -@admin +info", rules)]
        told = list(list_user_differences(read_users(USERS, False), read_users(given, False)))
        assert told == ["other rights of user seller"]
