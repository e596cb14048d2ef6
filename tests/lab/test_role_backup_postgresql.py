"""PostgreSQL's archive on real hosts: recovery to random moments, faults of backup, disk and network, rotation."""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial

import pytest
from archive_stage import ADMIN, UNIT, VERSION, ArchiveStage
from role_stage import RELEASE, ROOT, changes, failures, role_lab

from benchmarks.history import READ, History
from groundwork.backup import postgresql
from groundwork.problems import ProblemError
from groundwork.topology.archives import Archive, archive_of

NAME = os.environ.get("GROUNDWORK_TEST_LAB") or f"role-pgb-{RELEASE}"
SEED = int(os.environ.get("GROUNDWORK_TEST_SEED") or 7)
REPOSITORY = "/var/lib/groundwork/backup/pgbackrest/postgresql"
SETTINGS = "/etc/groundwork/ymera/pgbackrest/postgresql.conf"
FULL, DIFF = (f"ymera-pgbackrest-postgresql@{kind}.service" for kind in ("full", "diff"))
SERVER = "ymera-pgbackrest.service"
WRITER, RECORD = "/run/history_writer.py", "/run/history.jsonl"


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ArchiveStage]:
    with role_lab(NAME, "ymera"):
        stage = ArchiveStage(tmp_path_factory.mktemp("project"), NAME)
        result = stage.apply()
        assert failures(result) == []
        yield stage


@pytest.fixture(scope="module")
def archive(stage: ArchiveStage) -> Archive:
    """The archive, with its first backup, which nobody waited for when it was set up."""
    found = archive_of(stage.site.platform, stage.site.topology, "postgresql")
    assert found is not None
    await_true(lambda: bool(postgresql.list_backups(stage.site, found)), 180)
    await_true(lambda: stage.run("app", f"systemctl is-active {FULL}") == "inactive", 60)
    return found


def await_true(question: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not question():
        assert time.monotonic() < deadline, "did not become true"
        time.sleep(0.5)


def put(stage: ArchiveStage, host: str, path: str, content: str) -> None:
    stage.run(host, f"cat > {path} <<'END'\n{content}\nEND")


def read_history(stage: ArchiveStage) -> History:
    return History(stage.run("data", f"cat {RECORD}").splitlines())


def judge(stage: ArchiveStage, moment: float | None) -> str:
    return read_history(stage).judge(stage.ask(READ), moment)


def labels(stage: ArchiveStage, archive: Archive) -> list[str]:
    return [str(one["label"]) for one in postgresql.list_backups(stage.site, archive)]


def start_writer(stage: ArchiveStage) -> None:
    put(stage, "data", WRITER, (ROOT / "benchmarks/history_writer.py").read_text())
    arguments = f"{RECORD} ymera 5432 0.01"
    stage.run("data", f"systemctl stop history; systemd-run --unit=history --collect python3 {WRITER} {arguments}")
    written = int(stage.run("data", f"grep -c ack {RECORD}") or 0)
    await_true(lambda: int(stage.run("data", f"grep -c ack {RECORD}") or 0) > written + 20, 60)


def stop_writer(stage: ArchiveStage) -> None:
    stage.run("data", "systemctl stop history")


def test_a_second_run_changes_nothing(stage: ArchiveStage, archive: Archive) -> None:
    assert changes(stage.plan()) == {"data": [], "app": []}
    assert changes(stage.apply()) == {"data": [], "app": []}
    assert archive.keeper == "app"
    found = postgresql.check(stage.site, archive)
    assert found["problems"] == []
    assert found["objects"] > 500
    figures = stage.run("app", "cat /var/lib/groundwork/metrics/ymera-pgbackrest-postgresql.prom")
    labels = '{platform="ymera",item="database",repository="main"}'
    assert f"postgresql_check_failed{labels} 0" in figures
    assert f"groundwork_backup_failed{labels} 0" in figures
    assert f"maximum_age_seconds{labels} 129600" in figures


def test_only_the_database_gets_at_its_archive(stage: ArchiveStage, archive: Archive) -> None:
    folder = "/etc/groundwork/ymera/certificates"
    keeper = stage.run("data", "getent hosts app | cut -d' ' -f1")
    # pgBackRest's client with a certificate of the platform that is somebody else's, then without any.
    for certificate in ("operator", ""):
        own = f"{folder}/{certificate}/current"
        files = f"s#=.*/certificate.pem#={own}/certificate.pem#; s#=.*/key.pem#={own}/key.pem#"
        edit = files if certificate else "/-cert-file=/d; /-key-file=/d"
        stage.run("data", f"sed '{edit}' {SETTINGS} > /run/other.conf")
        call = "pgbackrest --config=/run/other.conf --stanza=ymera-postgresql info --output=json"
        answer = stage.run("data", f"{call} 2>&1")
        assert "label" not in answer, answer
        assert "error" in answer.lower(), answer
    plain = stage.run("data", f"echo | timeout 5 openssl s_client -connect {keeper}:8432 2>&1")
    assert "Verify return code" in plain or "alert" in plain
    # What lies there is encrypted: nothing of a table's name, and every file with OpenSSL's mark.
    files = stage.run("app", f"find {REPOSITORY}/backup -name '*.zst' | head -5").splitlines()
    assert files
    for file in files:
        assert stage.run("app", f"head -c 8 {file}") == "Salted__"
    assert stage.run("app", f"stat -c '%a %U' {REPOSITORY}") == "750 pgbackrest"


def test_any_moment_is_restored_as_it_was(stage: ArchiveStage, archive: Archive) -> None:
    chance = random.Random(SEED)
    start_writer(stage)
    postgresql.make_backup(stage.site, archive, "diff")
    begun = time.time()
    for number in range(3):
        time.sleep(chance.uniform(2.0, 4.0))
        # From all that was written since, through the restores before: the moment is one of the clock.
        history = read_history(stage)
        known, moment = max(history.parents), history.choose_moment(chance, begun)
        postgresql.restore(stage.site, archive, datetime.fromtimestamp(moment, UTC))
        # The writer has gone on from there meanwhile; where it first began is where the restore ended.
        await_true(partial(_has_epochs, stage, known + 1), 60)
        history = read_history(stage)
        place = history.parents[known + 1]
        assert place in history.places_at(moment), (number, moment, place, history.places_at(moment))
    stop_writer(stage)
    assert judge(stage, None) == ""
    # A last one with nobody writing, so that the whole table is compared at the moment itself.
    moment = read_history(stage).choose_moment(chance, begun)
    state = postgresql.restore(stage.site, archive, datetime.fromtimestamp(moment, UTC))
    assert judge(stage, moment) == ""
    assert set(state["seconds"]) == {"stop", "fetch", "recover", "prove", "open"}
    assert stage.run("data", "systemctl is-active pgbouncer.service") == "active"
    # The replica is the primary's again.
    await_true(lambda: stage.ask(READ, host="app") == stage.ask(READ), 60)
    assert stage.ask("SELECT pg_is_in_recovery()", host="app") == "t"
    # Nothing differs but the rights at the writer's tables, which are the superuser's.
    found = changes(stage.plan())
    assert found["app"] == []
    assert set(found["data"]) <= {"Run PostgreSQL | Set the rights in ymera"}
    assert postgresql.check(stage.site, archive)["problems"] == []


def _has_epochs(stage: ArchiveStage, count: int) -> bool:
    return max(read_history(stage).parents) >= count


def test_moments_that_cannot_be_restored_are_refused(stage: ArchiveStage, archive: Archive) -> None:
    started = stage.started("data", UNIT)
    for moment, said in ((0.0, "before the oldest backup"), (time.time() + 3600, "has not been yet")):
        with pytest.raises(ProblemError, match=said):
            postgresql.restore(stage.site, archive, datetime.fromtimestamp(moment, UTC))
    assert stage.started("data", UNIT) == started


def test_a_lost_database_comes_back_from_the_archive(stage: ArchiveStage, archive: Archive) -> None:
    start_writer(stage)
    stage.ask("SELECT pg_switch_wal()")
    time.sleep(3)
    stage.run("data", f"systemctl kill --signal=KILL {UNIT}; systemctl stop {UNIT}; rm -rf /var/lib/postgresql/*/main")
    lost = time.time()
    assert "PostgreSQL does not run" in "\n".join(postgresql.describe_loss(stage.site, archive, None))
    stop_writer(stage)
    postgresql.restore(stage.site, archive, None)
    history = read_history(stage)
    assert judge(stage, None) == ""
    place = tuple(json.loads(stage.ask(READ))["place"])
    kept = next(one for one in history.commits if one.place == place)
    # What was handed over is there; what was not yet is at most what the archive's timeout lets wait.
    assert lost - kept.ack < archive.archive_timeout + 5


def test_what_was_never_archived_is_refused(stage: ArchiveStage, archive: Archive) -> None:
    # Committed and lost with the database's disk: the archive cannot know when.
    moment = read_history(stage).commits[-2].ack
    started = stage.started("data", UNIT)
    with pytest.raises(ProblemError, match="newest commit that is archived"):
        postgresql.restore(stage.site, archive, datetime.fromtimestamp(moment, UTC))
    assert stage.started("data", UNIT) == started


def test_an_interrupted_restore_is_told_of_and_resumed(stage: ArchiveStage, archive: Archive) -> None:
    history = read_history(stage)
    moment = history.commits[-600].ack
    begin = f"systemd-run --quiet --unit=restoring --collect {ADMIN} restore --at {iso(moment)}"
    reached = 'grep -qsE \'"step": "(fetch|recover)"\' /var/lib/groundwork/restores/ymera/postgresql.json'
    # Looked for on the host itself: a step takes no longer than asking from here does.
    kill = f"for n in $(seq 3000); do {reached} && break; sleep 0.01; done; systemctl kill --signal=KILL restoring"
    stage.run("data", f"{begin}; {kill}")
    found = postgresql.check(stage.site, archive)
    assert any("a restore stands at" in problem for problem in found["problems"])
    assert stage.run("data", "systemctl is-active pgbouncer.service") != "active"
    postgresql.resume(stage.site, archive)
    assert judge(stage, moment) == ""
    assert postgresql.check(stage.site, archive)["problems"] == []


def iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat()


def test_damage_in_the_repository_is_found(stage: ArchiveStage, archive: Archive) -> None:
    postgresql.make_backup(stage.site, archive, "diff")
    newest = labels(stage, archive)[-1]
    files = f"{REPOSITORY}/backup/ymera-postgresql/{newest.partition('_')[0]}/pg_data/base"
    broken = stage.run("app", f"find {files} -name '*.zst' -size +8k | sort | head -1")
    segment = stage.run("app", f"find {REPOSITORY}/archive -name '0*-*' | sort | tail -1")
    stage.run("app", f"cp -p {broken} /run/kept; printf X | dd of={broken} bs=1 seek=4000 conv=notrunc")
    problems = postgresql.check(stage.site, archive)["problems"]
    assert any(newest.partition("_")[0] in problem for problem in problems), problems
    stage.run("app", f"cp -p /run/kept {broken}; mv {segment} /run/segment")
    problems = postgresql.check(stage.site, archive)["problems"]
    assert any("lacks" in problem for problem in problems), problems
    stage.run("app", f"mv /run/segment {segment}")
    assert postgresql.check(stage.site, archive)["problems"] == []


def test_a_killed_backup_leaves_those_before_it(stage: ArchiveStage, archive: Archive) -> None:
    chance = random.Random(SEED)
    before = labels(stage, archive)
    for _ in range(2):
        stage.run("app", f"systemctl start --no-block {FULL}")
        await_true(lambda: stage.run("app", f"systemctl is-active {FULL}") == "activating", 30)
        time.sleep(chance.uniform(0.3, 1.5))
        stage.run("app", f"systemctl kill --signal=KILL {FULL}")
        await_true(lambda: stage.run("app", f"systemctl is-active {FULL}") != "activating", 30)
    stage.run("app", f"systemctl reset-failed {FULL}")
    assert set(before) <= set(labels(stage, archive))
    assert postgresql.make_backup(stage.site, archive, "full")["made"]
    assert postgresql.check(stage.site, archive)["problems"] == []


@pytest.mark.slow
def test_a_full_disk_fails_the_backup_and_nothing_else(stage: ArchiveStage, archive: Archive) -> None:
    before = labels(stage, archive)
    rows = "SELECT md5(random()::text) || md5(random()::text) t FROM generate_series(1, 150000)"
    stage.ask(f"CREATE TABLE large AS {rows}")
    assert postgresql.check(stage.site, archive)["problems"] == []
    # The repository as it is, with no room for what has just been written.
    size = int(stage.run("app", f"du -sm {REPOSITORY} | cut -f1")) + 2
    mount = f"mount -t tmpfs -o size={size}m,uid=$(id -u pgbackrest),mode=750 none"
    stage.run("app", f"mkdir -p /run/small && {mount} /run/small && cp -a {REPOSITORY}/. /run/small/")
    stage.run("app", f"mount --bind /run/small {REPOSITORY} && systemctl restart {SERVER}")
    try:
        with pytest.raises(ProblemError):
            postgresql.make_backup(stage.site, archive, "full")
        assert stage.ask("SELECT count(*) FROM large") == "150000"
        figures = stage.run("app", "cat /var/lib/groundwork/metrics/ymera-pgbackrest-postgresql.prom")
        assert 'groundwork_backup_failed{platform="ymera",item="database",repository="main"} 1' in figures
        assert labels(stage, archive) == before
    finally:
        stage.run("app", f"systemctl stop {SERVER}; umount {REPOSITORY}; umount /run/small")
        stage.run("app", f"systemctl start {SERVER}; systemctl reset-failed {FULL}")
        stage.ask("DROP TABLE large")
    assert postgresql.make_backup(stage.site, archive, "full")["made"]
    assert postgresql.check(stage.site, archive)["problems"] == []


@pytest.mark.slow
def test_the_log_that_waits_for_an_unreachable_repository_is_bounded(stage: ArchiveStage, archive: Archive) -> None:
    # A bound that is reached soon, and an attempt that gives up soon.
    bound = r"s/^archive-push-queue-max=.*/archive-push-queue-max=48MiB\nio-timeout=10/"
    stage.run("data", f"sed -i '{bound}' {SETTINGS}")
    stage.run("app", f"systemctl stop {SERVER}")
    stage.ask("DROP TABLE IF EXISTS away")
    stage.ask("CREATE TABLE away (t text)")
    fill = "INSERT INTO away SELECT repeat(md5(g::text), 20) FROM generate_series(1, 15000) g; SELECT pg_switch_wal()"
    for _ in range(6):
        stage.ask(fill)
    failed = "SELECT failed_count > 0 FROM pg_stat_archiver"
    await_true(lambda: stage.ask(failed) == "t", 120)
    waiting = f"ls /var/lib/postgresql/{VERSION}/main/pg_wal/archive_status | grep -c ready"
    # PostgreSQL goes on serving, and the queue is let go beyond its bound.
    await_true(lambda: int(stage.run("data", waiting) or 0) <= 4, 120)
    assert stage.ask("SELECT count(*) FROM away") == "90000"
    assert "archive" in stage.run("data", f"journalctl -u {UNIT} --no-pager | grep -i 'dropped WAL' | tail -1")
    stage.run("app", f"systemctl start {SERVER}")
    stage.ask("SELECT pg_switch_wal()")
    await_true(
        lambda: stage.ask("SELECT last_archived_time > now() - interval '30 s' FROM pg_stat_archiver") == "t", 120
    )
    problems = postgresql.check(stage.site, archive)["problems"]
    assert any("until the next backup" in problem for problem in problems), problems
    postgresql.make_backup(stage.site, archive, "diff")
    found = postgresql.check(stage.site, archive)
    assert found["problems"] == []
    assert any("before the next backup" in note for note in found["notes"])
    stage.ask("DROP TABLE away")
    assert failures(stage.apply()) == []
    assert "48MiB" not in stage.run("data", f"cat {SETTINGS}")


def test_a_new_certificate_is_served_without_a_restart(stage: ArchiveStage, archive: Archive) -> None:
    ask = "openssl s_client -connect $(hostname -I | cut -d' ' -f1):8432 </dev/null 2>/dev/null"
    serials = {host: stage.run(host, f"{ask} | openssl x509 -noout -serial") for host in ("data", "app")}
    started = {host: stage.started(host, SERVER) for host in serials}
    for host in serials:
        stage.run(host, "rm -rf /etc/groundwork/ymera/certificates/*pgbackrest*")
    assert failures(stage.apply()) == []
    for host, serial in serials.items():
        new = stage.run(host, f"{ask} | openssl x509 -noout -serial")
        assert new.startswith("serial=")
        assert new != serial
        assert stage.started(host, SERVER) == started[host]
    assert postgresql.check(stage.site, archive)["problems"] == []


@pytest.mark.slow
def test_another_cluster_does_not_push_the_backups_out(stage: ArchiveStage, archive: Archive) -> None:
    before = labels(stage, archive)
    # A replica would have stopped the apply before.
    stage.postgresql["hosts"] = "data"
    assert failures(stage.apply()) == []
    folder, data = f"/var/lib/postgresql/{VERSION}", f"/var/lib/postgresql/{VERSION}/main"
    programs = f"/usr/lib/postgresql/{VERSION}/bin"
    stage.run("data", f"systemctl stop {UNIT}; mv {data} {folder}/kept")
    stage.run(
        "data", f"cd / && runuser -u postgres -- {programs}/initdb --data-checksums -D {data}; systemctl start {UNIT}"
    )
    try:
        told = failures(stage.apply())
        assert any("is not the one whose backups are kept" in line for line in told), told
    finally:
        stage.run("data", f"systemctl stop {UNIT}; rm -rf {data}; mv {folder}/kept {data}; systemctl start {UNIT}")
    assert labels(stage, archive) == before
    assert postgresql.check(stage.site, archive)["problems"] == []


def test_it_leaves_the_archive_and_nothing_that_runs(stage: ArchiveStage, archive: Archive) -> None:
    stage.manifest["backup"]["items"] = {"authority": {"what": "authority"}}
    assert failures(stage.apply()) == []
    for host in ("app", "data"):
        left = stage.run(host, "ls -R /etc/systemd/system /usr/local/lib/groundwork /etc/groundwork; ss -Hltn")
        assert "pgbackrest" not in left
        assert ":8432" not in left
    assert stage.ask("SHOW archive_mode") == "off"
    assert stage.run("app", f"ls {REPOSITORY}") == "archive\nbackup"
    stage.reset()
    assert failures(stage.apply()) == []
    postgresql.make_backup(stage.site, archive, "diff")
    assert postgresql.check(stage.site, archive)["problems"] == []
