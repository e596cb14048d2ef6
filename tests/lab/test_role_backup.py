"""The role backup on real hosts: sets that hold what was there, by other means; damage, restore, and faults."""

from __future__ import annotations

import hashlib
import json
import random
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from role_stage import RELEASE, RoleStage, changes, failures, role_lab

from groundwork.authority import paths
from groundwork.backup import layout
from groundwork.backup.reports import BackupReport, Run
from groundwork.backup.restoring import restore
from groundwork.backup.run import check_sets, list_sets, make_sets, repair
from groundwork.backup.sets import read_envelope
from groundwork.problems import ProblemError

NAME = f"role-backup-{RELEASE}"
REPOSITORY = "/var/lib/groundwork/backup"
SERVER = layout.server_unit("chorus", "main")
KEYS, MESSAGES = 3000, 400
# Publishes to and reads from a stream with the standard library alone: publish COUNT, digest, or delete SEQUENCE.
NATS = """
import hashlib, json, socket, ssl, sys
address, folder, verb, *rest = sys.argv[1:]
raw = socket.create_connection((address, 4222), 10)
raw.makefile("rb", buffering=0).readline()
context = ssl.create_default_context(cafile="/etc/groundwork/chorus/authority/bundle.pem")
context.load_cert_chain(folder + "/certificate.pem", folder + "/key.pem")
stream = context.wrap_socket(raw, server_hostname=address).makefile("rwb")
stream.write(b'CONNECT {"verbose":false,"pedantic":false}\\r\\nSUB _INBOX.look 1\\r\\n')
def ask(subject, body):
    stream.write(f"PUB {subject} _INBOX.look {len(body)}\\r\\n{body}\\r\\n".encode())
    stream.flush()
    while True:
        line = stream.readline().split()
        if line[0] == b"PING":
            stream.write(b"PONG\\r\\n")
        elif line[0] == b"MSG":
            return json.loads(stream.read(int(line[-1]) + 2))
if verb == "publish":
    for number in range(int(rest[0])):
        ask("work.item", f"message {number} of " + rest[1])
elif verb == "purge":
    ask("$JS.API.STREAM.PURGE.work", "")
state = ask("$JS.API.STREAM.INFO.work", "")["state"]
digest = hashlib.sha256()
for sequence in range(state["first_seq"], state["last_seq"] + 1):
    answer = ask("$JS.API.STREAM.MSG.GET.work", json.dumps({"seq": sequence}))
    digest.update(json.dumps(answer.get("message", {}), sort_keys=True).encode())
print(state["messages"], state["first_seq"], state["last_seq"], state["consumer_count"], digest.hexdigest())
"""


class Stage(RoleStage):
    """Chorus's hosts with a Redis, a NATS and files; the repository lies on the other host."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, NAME, "chorus", ("pki", "redis", "nats", "backup"))
        self.manifest = self.read_manifest()
        stream = {"subjects": ["work.>"], "consumers": {"workers": {"filter": "work.>"}}}
        self.manifest["services"]["nats"] = {
            "kind": "nats",
            "hosts": "data",
            "jetstream": {"memory_max": "64MiB", "file_max": "512MiB"},
            "streams": {"work": stream},
        }
        items = self.manifest["backup"]["items"]
        items["messages"] = {"what": "nats", "service": "nats", "schedule": "hourly"}
        items["notes"] = {"what": "files", "hosts": "data", "paths": ["/srv/notes"], "schedule": "hourly"}
        self.manifest["backup"]["repository"] = {"kind": "host", "hosts": "app"}
        self.manifest["backup"]["copies"] = [{"kind": "directory", "path": "/srv/share"}]
        # One item more or less makes no difference to what is shown, but costs seconds each time.
        del items["authority"]

    def run(self, host: str, command: str) -> str:
        return str(super().run(host, command))

    def redis(self, *commands: str) -> list[str]:
        """What root's own user is answered, over the socket."""
        instance = "chorus-redis-1"
        password = f"/etc/groundwork/chorus/credentials/{instance}_operator"
        lines = "\\n".join(commands)
        client = f"redis-cli --user _operator -s /run/redis-{instance}/redis.sock"
        command = f'printf "{lines}\\n" | REDISCLI_AUTH=$(cat {password}) {client} --no-auth-warning'
        return self.run("data", command).splitlines()

    def redis_digest(self) -> str:
        """A hash of all keys with their values."""
        script = "local t={} for _,k in ipairs(redis.call('KEYS','*')) do t[#t+1]=k..'='..redis.call('GET',k) end"
        script += " table.sort(t) return redis.sha1hex(table.concat(t,';'))..':'..#t"
        return self.redis(f'EVAL \\\\\\"{script}\\\\\\" 0'.replace('\\\\\\"', '\\"'))[-1]

    def nats(self, *words: str) -> str:
        """Messages, sequences, consumers and a hash of the stream's messages, after publishing or purging."""
        folder = paths.certificate_folder("chorus", "nats-1")
        address = self.site.inventory.host("data").address
        return self.run("data", shlex.join(["python3", "-c", NATS, address, folder, *words]))

    def fill(self, mark: str) -> None:
        """Write to all stores; ``mark`` is in every value."""
        self.redis("FLUSHALL", f"EVAL \\\"for i=1,{KEYS} do redis.call('SET','key:'..i,'{mark}'..i) end\\\" 0")
        self.nats("publish", str(MESSAGES), mark)
        make = f"mkdir -p /srv/notes/deep; for i in 1 2 3; do echo {mark} $i > /srv/notes/deep/$i; done"
        large = f"yes {mark} | head -c 3000000 > /srv/notes/large; chmod 640 /srv/notes/large"
        self.run("data", f"{make}; {large}; ln -sfn large /srv/notes/link")

    def look(self) -> tuple[str, str, str]:
        """How the three stores are, by means of their own."""
        files = "cd /srv/notes && find . -type f -exec sha256sum {} + | sort; find . -printf '%p %m %u %l\\n' | sort"
        return self.redis_digest(), self.nats("look"), self.run("data", files)

    def back_up(self, *items: str) -> list[Run]:
        report = make_sets(self.site, items, print)
        assert report.problems == []
        return report.runs

    def check(self, *items: str) -> BackupReport:
        report = check_sets(self.site, items, False, print)
        assert report.problems == []
        return report

    def restic(self, item: str, *words: str) -> str:
        """restic itself, on the repository's host."""
        password = layout.credential("chorus", "backup_encryption")
        command = [
            "restic",
            "-r",
            f"{REPOSITORY}/{item}",
            "--password-file",
            password,
            "--no-lock",
            "--no-cache",
            *words,
        ]
        return self.run("app", shlex.join(command))

    def envelope(self, item: str, name: str) -> str:
        """A set's description as it is stored."""
        found = json.loads(self.restic(item, "snapshots", "--json", "--tag", f"set={name},part=description"))
        return self.restic(item, "dump", found[0]["id"], "/set.json")


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with role_lab(NAME, "chorus"):
        yield Stage(tmp_path_factory.mktemp("project"))


def good(runs: list[Run]) -> bool:
    for run in runs:
        print(run)
    return all(run.good and run.set for run in runs)


def test_plan_on_bare_hosts_then_apply_then_nothing_more(stage: Stage) -> None:
    stage.run("data", "mkdir -p /srv/notes /srv/share")
    stage.run("app", "mkdir -p /srv/share")
    planned = stage.plan()
    assert failures(planned) == []
    assert all(len(names) > 8 for names in changes(planned).values())
    assert failures(stage.apply()) == []
    assert changes(stage.apply()) == {"app": [], "data": []}
    assert changes(stage.plan()) == {"app": [], "data": []}


def test_sets_hold_what_was_there(stage: Stage) -> None:
    stage.fill("first")
    before = stage.look()
    runs = {run.item: run for run in stage.back_up()}
    assert good(list(runs.values()))
    assert set(runs) == {"redis", "messages", "notes", "secrets", "configuration"}
    assert stage.look() == before
    # The files, read by restic itself and compared with those on their own host.
    stage.run("app", "rm -rf /tmp/look")
    newest = stage.restic("notes", "snapshots", "--json", "--tag", f"set={runs['notes'].set},part=data")
    stage.restic("notes", "restore", json.loads(newest)[0]["id"], "--target", "/tmp/look")
    listing = "cd {}/srv/notes && find . -type f -exec sha256sum {{}} + | sort"
    assert stage.run("app", listing.format("/tmp/look")) == stage.run("data", listing.format(""))
    # The description: signed by the host's key, with the sums and counts of what was there.
    envelope, manifest = read_envelope(stage.envelope("notes", runs["notes"].set))
    sums = {line.split()[1]: line.split()[0] for line in stage.run("data", listing.format("")).splitlines()}
    assert {one.path: one.sha256 for one in manifest.objects} == {f"/srv/notes/{n[2:]}": s for n, s in sums.items()}
    stored = stage.run("data", f"cat {paths.certificate('chorus', 'backup')}")
    assert envelope.certificate.strip() == stored
    _, of_redis = read_envelope(stage.envelope("redis", runs["redis"].set))
    assert of_redis.counts["chorus-redis-1"]["keys"] == KEYS
    _, of_nats = read_envelope(stage.envelope("messages", runs["messages"].set))
    assert of_nats.counts["work"]["messages"] == MESSAGES
    # What the repository's disk holds tells nothing.
    assert stage.run("app", f"grep -rlF 'first' {REPOSITORY} | head") == ""
    report = stage.check()
    assert report.exit_code == 0, report
    assert sum(one.objects for one in report.checks) >= len(sums)


def test_only_its_own_clients_add_to_a_repository_and_none_deletes(stage: Stage) -> None:
    host = stage.site.inventory.host("app").address
    url = f"https://{host}:8743/redis/"
    trust = f"--cacert {paths.bundle('chorus')}"
    certificate = f"--cert {paths.certificate('chorus', 'backup')} --key {paths.key('chorus', 'backup')}"
    login = "--user redis:$(cat /etc/groundwork/chorus/credentials/backup_redis)"
    status = "curl -s -o /dev/null -w '%{http_code}'"
    stage.run("data", "command -v curl || apt-get install -y -q curl")
    assert stage.run("data", f"{status} {trust} {certificate} {login} {url}config") == "200"
    assert stage.run("data", f"{status} {trust} {login} {url}config") == "000"
    assert stage.run("data", f"{status} {trust} {certificate} {url}config") == "401"
    assert stage.run("data", f"{status} {trust} {certificate} {login} {url.replace('redis', 'secrets')}config") == "403"
    assert stage.run("data", f"{status} {trust} {certificate} {login} -X DELETE {url}config") == "403"


def test_what_was_lost_comes_back(stage: Stage) -> None:
    before = stage.look()
    moment = datetime.now(UTC)
    stage.fill("second")
    stage.nats("purge")
    stage.run("data", "rm -rf /srv/notes/deep; echo later > /srv/notes/later; chmod 600 /srv/notes/large")
    damaged = stage.look()
    # Without the flag it says what would be lost, and loses nothing.
    told = restore(stage.site, ["redis", "nats", "files"], moment, False, False, print)
    assert told.exit_code == 2
    assert f"{KEYS} keys" in told.items["redis on data"]["loss"]
    assert stage.look() == damaged
    done = restore(stage.site, ["redis", "nats", "files"], moment, True, False, print)
    assert done.exit_code == 0, done
    print(done.phases)
    stage.run("data", "rm /srv/notes/later")
    assert stage.look() == before
    # What came after the set and was overwritten lies beside, for whoever restored the wrong one.
    assert "before-" in stage.run("data", "ls /var/lib/redis/chorus-redis-1")
    assert changes(stage.plan()) == {"app": [], "data": []}


def test_configuration_comes_back(stage: Stage) -> None:
    look = "sha256sum /etc/issue /etc/passwd; stat -c '%n %a %U' /etc/groundwork/chorus/backup/* /etc/issue"
    before = stage.run("app", look)
    key = stage.run("app", f"sha256sum {paths.key('chorus', 'backup')}")
    assert good(stage.back_up("configuration"))
    stage.run("app", "echo broken > /etc/issue; chmod 600 /etc/issue; rm -r /etc/groundwork/chorus/backup/keep-main-*")
    assert restore(stage.site, ["config"], None, True, False, print).exit_code == 0
    assert stage.run("app", look) == before
    # Keys of certificates are in no set, and stay as they are.
    assert stage.run("app", f"sha256sum {paths.key('chorus', 'backup')}") == key
    assert changes(stage.plan()) == {"app": [], "data": []}


def test_a_restore_that_fails_half_way_is_taken_up_again(stage: Stage) -> None:
    stage.fill("third")
    assert good(stage.back_up("redis"))
    before = stage.redis_digest()
    stage.redis("FLUSHALL", "SET other yes")
    # The server cannot start: the restore is unfinished, says so, and nothing takes it for good.
    unit = "/run/systemd/system/redis-server@chorus-redis-1.service.d"
    stage.run("data", f"mkdir -p {unit}; printf '[Service]\\nExecStartPre=/bin/false\\n' > {unit}/99-no.conf")
    stage.run("data", "systemctl daemon-reload")
    failed = restore(stage.site, ["redis"], None, True, False, print)
    assert failed.exit_code == 1
    assert failed.outcome == "unfinished"
    refused = stage.back_up("redis")
    assert "restore" in refused[0].error
    with pytest.raises(ProblemError, match="not finished"):
        restore(stage.site, ["files"], None, True, False, print)
    stage.run("data", f"rm -r {unit}; systemctl daemon-reload; systemctl reset-failed redis-server@chorus-redis-1")
    assert restore(stage.site, [], None, True, True, print).exit_code == 0
    assert stage.redis_digest() == before


def test_a_damaged_object_is_found_and_passed_over(stage: Stage) -> None:
    earlier = stage.look()[2]
    assert good(stage.back_up("notes"))
    stage.run("data", "head -c 2000000 /dev/urandom > /srv/notes/noise")
    runs = stage.back_up("notes")
    # One byte in the middle of the newest large file of the repository.
    find = f"cd {REPOSITORY}/notes; file=$(find data -type f -size +500k -newermt '-60 seconds' | tail -1); echo $file"
    damage = "printf 'X' | dd of=$file bs=1 seek=1000 conv=notrunc 2>/dev/null"
    assert stage.run("app", f"{find}; {damage}").startswith("data/")
    report = stage.check("notes")
    assert report.exit_code == 2
    assert any(runs[0].set in finding["message"] for finding in report.findings)
    # The set's copy in the other repository is used, and it says so.
    noise = stage.run("data", "sha256sum /srv/notes/noise; rm /srv/notes/noise")
    done = restore(stage.site, ["files"], None, True, False, print)
    assert (done.exit_code, done.items["notes on data"]["repository"]) == (0, "copy-1")
    assert runs[0].set in str(done.items["notes on data"]["refused"])
    assert stage.run("data", "sha256sum /srv/notes/noise") == noise
    # Where that is gone as well, the next older set.
    stage.run("data", "rm -r /srv/notes/noise /srv/notes/large /srv/share/notes")
    done = restore(stage.site, ["files"], None, True, False, print)
    assert done.exit_code == 0, done
    assert runs[0].set in str(done.items["notes on data"]["refused"])
    assert stage.look()[2] == earlier
    # Taken out, so that what was in it is saved again.
    stage.run("data", "head -c 1000 /dev/urandom > /srv/notes/noise")
    mended = repair(stage.site, ["notes"])
    assert len(mended.repaired["notes in main"]) == 1
    assert good(stage.back_up("notes"))
    assert all(
        runs[0].set in finding["message"] or "restic" in finding["message"] for finding in stage.check("notes").findings
    )
    stage.run("data", "rm -rf /srv/notes; mkdir /srv/notes")
    assert restore(stage.site, ["files"], None, True, False, print).exit_code == 0


def test_a_killed_backup_is_no_set_and_the_next_is_good(stage: Stage) -> None:
    stage.fill("fourth")
    sets = {one.set for one in list_sets(stage.site, ["notes"]).sets}
    randomly = random.Random(7)
    unit = layout.job_instance("chorus", "notes", "command")
    for _ in range(3):
        delay = randomly.uniform(0.3, 4)
        kill = f"sleep {delay:.2f}; systemctl kill --signal=KILL {unit}; sleep 1; systemctl is-failed {unit}"
        stage.run("data", f"echo {delay} >> /srv/notes/large; systemctl start --no-block {unit}; {kill}")
    left = {one.set for one in list_sets(stage.site, ["notes"]).sets}
    assert sets <= left
    assert good(stage.back_up("notes"))
    last = restore(stage.site, ["files"], None, True, False, print)
    assert last.exit_code == 0, last


def test_a_full_disk_fails_the_backup_and_spares_the_sets(stage: Stage) -> None:
    assert good(stage.back_up("redis"))
    small = f"systemctl stop {SERVER}; mv {REPOSITORY} {REPOSITORY}.kept; mkdir {REPOSITORY}"
    fill = f"size=$(du -sk {REPOSITORY}.kept | cut -f1); mount -t tmpfs -o size=$((size + 600))k tmpfs {REPOSITORY}"
    start = f"cp -a {REPOSITORY}.kept/. {REPOSITORY}; systemctl start {SERVER}"
    stage.run("app", f"{small}; {fill}; {start}; chown groundwork-backup: {REPOSITORY}; chmod 700 {REPOSITORY}")
    stage.run("data", "head -c 3000000 /dev/urandom > /srv/notes/noise")
    runs = stage.back_up("notes")
    assert not runs[0].good
    assert runs[0].repositories["main"]["error"]
    assert 'groundwork_backup_failed{platform="chorus",item="notes",repository="main"} 1' in stage.run(
        "data", "cat /var/lib/groundwork-backup/chorus/notes/*.prom"
    )
    assert stage.check("redis").exit_code == 0
    stage.run("data", "rm /srv/notes/noise")
    back = f"umount {REPOSITORY}; rmdir {REPOSITORY}; mv {REPOSITORY}.kept {REPOSITORY}; systemctl start {SERVER}"
    stage.run("app", f"systemctl stop {SERVER}; {back}")
    assert good(stage.back_up("notes"))


def test_an_unreachable_repository_is_said_at_once(stage: Stage) -> None:
    stage.run("app", f"systemctl stop {SERVER}")
    runs = stage.back_up("notes")
    stage.run("data", "echo lost > /srv/notes/large")
    done = restore(stage.site, ["files"], None, True, False, print)
    stage.run("app", f"systemctl start {SERVER}")
    assert "does not answer" in runs[0].repositories["main"]["error"]
    assert runs[0].seconds < 60
    # The other repository has it all the same.
    assert "error" not in runs[0].repositories["copy-1"]
    assert (done.exit_code, done.items["notes on data"]["set"]) == (0, runs[0].set)
    assert "does not answer" in done.items["notes on data"]["refused"][0]


@pytest.mark.slow
def test_every_master_of_a_cluster_is_saved_and_comes_back(stage: Stage) -> None:
    grid = {"kind": "redis", "hosts": "data", "port": 6400, "mode": "cluster", "nodes_per_host": 6}
    stage.manifest["services"]["grid"] = grid | {"replicas_per_master": 1}
    stage.manifest["backup"]["items"]["grid"] = {"what": "redis", "service": "grid", "schedule": "hourly"}
    assert failures(stage.apply()) == []
    address = stage.site.inventory.host("data").address
    operator = [paths.certificate("chorus", "backup"), paths.key("chorus", "backup"), paths.bundle("chorus")]
    tls = "--tls --cert {} --key {} --cacert {}".format(*operator)
    password = "REDISCLI_AUTH=$(cat /etc/groundwork/chorus/credentials/chorus-grid-${n}_operator)"
    client = f"{password} redis-cli --no-auth-warning --user _operator {tls} -h {address} -p $((6399 + n))"
    every = "for n in 1 2 3 4 5 6; do {}; done"
    write = "for i in $(seq 1 300); do echo SET key:$i first$i; done"
    # Each server takes the keys of its own slots and refuses the others'.
    stage.run("data", every.format(f"({write}) | {client} >/dev/null"))
    look = every.format(f"echo 'KEYS *' | {client}")

    def keys() -> list[str]:
        return sorted(line for line in stage.run("data", look).splitlines() if line.startswith("key:"))

    before = keys()
    # 300 keys, each at its master and at the master's replica.
    assert len(before) == 600
    runs = stage.back_up("grid")
    assert good(runs)
    _, manifest = read_envelope(stage.envelope("grid", runs[0].set))
    masters = {name: one for name, one in manifest.counts.items() if name != "objects"}
    assert len(masters) == 3
    assert sum(one["keys"] for one in masters.values()) == 300
    assert stage.check("grid").exit_code == 0
    stage.run("data", every.format(f"echo FLUSHALL | {client}"))
    assert keys() == []
    done = restore(stage.site, ["redis"], None, True, False, print)
    assert done.exit_code == 0, done
    followed = f"echo INFO replication | {client} | grep -q -e role:master -e link_status:up"
    wait = every.format(f"until {followed}; do sleep 1; done")
    stage.run("data", f"timeout 60 sh -c {shlex.quote(wait)}")
    assert keys() == before
    del stage.manifest["services"]["grid"], stage.manifest["backup"]["items"]["grid"]


def test_what_is_undeclared_goes_and_the_sets_stay(stage: Stage) -> None:
    kept: dict[str, Any] = stage.manifest.pop("backup")
    recovery = stage.manifest.pop("recovery")
    assert failures(stage.apply()) == []
    assert stage.run("data", "ls /etc/systemd/system | grep -c backup") == "0"
    assert stage.run("app", f"test -f {REPOSITORY}/notes/config && echo kept") == "kept"
    assert hashlib.sha256(stage.run("app", f"ls {REPOSITORY}/notes/snapshots").encode()).hexdigest()
    stage.manifest |= {"backup": kept, "recovery": recovery}
    assert failures(stage.apply()) == []
    assert stage.check("notes").sets == []
