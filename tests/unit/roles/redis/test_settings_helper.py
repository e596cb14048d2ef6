"""What a running Redis answers, held against its file."""

from __future__ import annotations

import pytest

from roles.redis.programs.redis_settings import list_differences, read_file

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
