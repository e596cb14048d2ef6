"""Snapshots: read from answers, compared, and followed through an apply."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from groundwork.drift.attribution import ask_audit, read_audit
from groundwork.drift.comparing import Difference, compare, follow
from groundwork.drift.snapshot import SOURCES, Snapshot, list_questions, read_snapshot
from groundwork.preflight.questions import TIMED_OUT, Answers, build_script, parse_answers

snapshots = st.dictionaries(
    st.sampled_from(["file", "user", "unit"]),
    st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), st.sampled_from(["1", "2", "3"])),
)


def answers(**texts: str) -> Answers:
    every = {name: "" for names in SOURCES.values() for name in names} | texts
    return Answers(every, dict.fromkeys(every, 0))


def test_each_question_has_a_category_and_is_shell() -> None:
    assert {name for names in SOURCES.values() for name in names} == set(list_questions())
    assert set(read_snapshot(answers())) == set(SOURCES)
    subprocess.run(["sh", "-n"], input=build_script(list_questions(), 5), text=True, check=True)


def test_this_machine_answers() -> None:
    questions = {name: list_questions()[name] for name in ("users", "groups", "packages", "privileged", "mounts")}
    done = subprocess.run(["sh", "-s"], input=build_script(questions, 60), capture_output=True, text=True, check=True)
    found = read_snapshot(parse_answers(done.stdout))
    assert found["user"]["root"].startswith("0:0:/root")
    assert found["package"]["dpkg"] == "ii"
    assert "/" in found["mount"]
    # Its questions were not asked.
    assert "file" not in found


def test_what_files_are_like() -> None:
    paths = "\n".join(
        [
            "f\t-rw-r--r-- root:root\t1764000000.5\t/etc/hosts\t",
            "f\t-rw------- root:root\t1764000000.5\t/etc/secret key\t",
            "f\t-rw-r--r-- root:root\t1764000000.5\t/etc/passwd\t",
            "f\t-rw-r--r-- root:root\t1764000000.5\t/etc/mtab\t",
            "l\tlrwxrwxrwx root:root\t1764000000.5\t/etc/localtime\t/usr/share/zoneinfo/UTC",
            "d\tdrwxr-xr-x root:root\t1764000000.5\t/etc\t",
        ]
    )
    digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    found = read_snapshot(answers(paths=paths, digests=f"{digest}  /etc/hosts\n{digest}  /etc/passwd"))["file"]
    assert found == {
        "/etc/hosts": "file -rw-r--r-- root:root content e3b0c44298fc1c14",
        "/etc/secret key": "file -rw------- root:root changed 1764000000",
        "/etc/passwd": "file -rw-r--r-- root:root",
        "/etc/localtime": "link lrwxrwxrwx root:root to /usr/share/zoneinfo/UTC",
        "/etc": "folder drwxr-xr-x root:root",
    }


def test_what_comes_and_goes_by_itself_is_left_out() -> None:
    units = (
        "ssh.service loaded active running OpenSSH\nuser@0.service loaded active running x\nsession-1.scope x active y"
    )
    listening = "\n".join(
        [
            "tcp LISTEN 0 128 0.0.0.0:22 0.0.0.0:*",
            "udp UNCONN 0 0 0.0.0.0:51234 0.0.0.0:*",
            "tcp LISTEN 0 128 127.0.0.11:40 0.0.0.0:*",
        ]
    )
    rules = "\n".join(
        [
            "table inet groundwork {",
            "\tset blocked {",
            "\t\ttype ipv4_addr",
            "\t\telements = { 192.0.2.1 }",
            "\t}",
            "\tchain input {",
            "\t\ttcp dport 22 accept",
            "\t}",
            "}",
        ]
    )
    found = read_snapshot(answers(units=units, listening=listening, rules=rules))
    assert found["unit"] == {"ssh.service": "active"}
    assert found["port"] == {"tcp 0.0.0.0:22": "listening"}
    assert list(found["firewall rule"]) == ["table inet groundwork chain input: tcp dport 22 accept"]


def test_a_question_that_was_not_answered_in_time_is_not_a_difference() -> None:
    late = Answers({"users": "root:0:0:/root:/bin/sh"}, {"users": TIMED_OUT, "groups": 0})
    found = read_snapshot(late)
    assert "user" not in found
    assert list(compare({"user": {"root": "x"}, "group": {}}, found)) == []


def test_differences_are_named() -> None:
    before = {"file": {"/a": "1", "/b": "1", "/c": "1"}}
    after = {"file": {"/a": "1", "/b": "2", "/d": "1"}}
    assert list(compare(before, after)) == [
        Difference("file", "/b", "1", "2"),
        Difference("file", "/c", "1", "absent"),
        Difference("file", "/d", "absent", "1"),
    ]


@given(snapshots, snapshots)
def test_a_snapshot_does_not_differ_from_itself(
    one: dict[str, dict[str, str]], other: dict[str, dict[str, str]]
) -> None:
    assert list(compare(one, one)) == []
    assert len(list(compare(one, other))) == len(list(compare(other, one)))


@given(snapshots, snapshots, snapshots)
def test_a_baseline_follows_what_an_apply_did_and_nothing_else(
    baseline: Snapshot, before: Snapshot, after: Snapshot
) -> None:
    done = {(d.category, d.subject): d.now for d in compare(before, after)}
    merged = follow(baseline, before, after)
    for category in baseline:
        for subject in ("a", "b", "c", "d"):
            expected = done.get((category, subject), baseline[category].get(subject, "absent"))
            assert merged[category].get(subject, "absent") == expected


def test_the_audit_log_is_read() -> None:
    # As ausearch(8) 4.0 prints it, after the number of the path.
    output = "\n".join(
        [
            "0,NODE,EVENT,DATE,TIME,SERIAL_NUM,EVENT_KIND,SESSION,SUBJ_PRIME,SUBJ_SEC,SUBJ_KIND,ACTION,RESULT,OBJ_PRIME,"
            "OBJ_SEC,OBJ_KIND,HOW",
            "0,,SYSCALL,11/25/26,16:10:50,501,audit-rule,3,debian,root,privileged-acct,opened-file,success,/etc/passwd,132,"
            "file,/usr/bin/tee",
            "0,,SYSCALL,11/25/26,16:10:51,502,audit-rule,3,debian,debian,user,opened-file,failed,/etc/passwd,132,file,/bin/cat",
            "1,,SYSCALL,11/25/26,16:11:50,503,audit-rule,4,root,root,privileged-acct,deleted,success,/etc/x,1,file,/usr/bin/rm",
            "broken",
        ]
    )
    found = read_audit(output, ["/etc/passwd", "/etc/x", "/etc/y"])
    assert found == {
        "/etc/passwd": ("11/25/26 16:10:50 debian as root: opened-file with /usr/bin/tee",),
        "/etc/x": ("11/25/26 16:11:50 root: deleted with /usr/bin/rm",),
    }
    script = ask_audit(["/etc/it's", "/b"], datetime(2026, 11, 25, tzinfo=UTC))
    subprocess.run(["sh", "-n"], input=script, text=True, check=True)
