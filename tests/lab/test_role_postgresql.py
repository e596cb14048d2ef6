"""The role postgresql on real hosts: migrations that fail, foreign owners, drift, kills, replicas, and its removal."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from groundwork.engine import api
from groundwork.engine.results import OperationStatus, RunResult
from groundwork.lab.lifecycle import boot_lab, remove_lab
from groundwork.lab.phases import Phases
from groundwork.lab.state import LabState
from groundwork.lab.terminal import capture_command, find_host
from groundwork.secrets.declaration import name_declarations
from groundwork.site import load_site

ROOT = Path(__file__).resolve().parents[2]
RELEASE = os.environ.get("GROUNDWORK_TEST_RELEASE") or "trixie"
NAME = os.environ.get("GROUNDWORK_TEST_LAB") or f"role-pg-{RELEASE}"
DEPLOY = Path("deploys/only.py")
VERSION = {"bookworm": 15, "trixie": 17}[RELEASE]
UNIT = f"postgresql@{VERSION}-main.service"
# What stands for the release of an agent: it must not run where the database is not ready.
DEPLOY_TEXT = """
from pyinfra.operations import files
from groundwork.site import current_site
from roles.pki.deploy import pki
from roles.postgresql.deploy import postgresql
site = current_site()
pki(site)
postgresql(site)
files.put(name="Release", src="release", dest="/run/released")
"""


class Stage:
    """A lab and a project of its own, whose manifest and migrations a test may change."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("group_data", "examples", "config.py"):
            (root / name).symlink_to(ROOT / name)
        for name in ("deploys", "inventories", f".lab/{NAME}"):
            (root / name).mkdir(parents=True)
        (root / DEPLOY).write_text(DEPLOY_TEXT)
        loader = f"load_groups(root=Path({str(root)!r}))"
        imports = "from pathlib import Path\nfrom groundwork.lab.inventory import load_groups\n"
        (root / "inventories/lab.py").write_text(f"{imports}globals().update({loader})\n")
        inventory = LabState(NAME, ROOT).read_inventory()
        assert inventory is not None
        # The database's group: data first, so that it is the primary.
        for host in inventory["hosts"]:
            host["groups"].append("pair")
        inventory["hosts"].sort(key=lambda host: host["name"] != "data")
        (root / f".lab/{NAME}/inventory.json").write_text(json.dumps(inventory))
        self.manifest: dict[str, Any] = {}
        self.reset()

    def reset(self) -> None:
        shutil.rmtree(self.root / "platforms", ignore_errors=True)
        shutil.copytree(ROOT / "platforms", self.root / "platforms")
        (self.root / "platforms/ymera.lab.yaml").write_text("{}\n")
        (self.root / "release").write_text("1")
        self.manifest = yaml.safe_load((ROOT / "platforms/ymera.yaml").read_text())
        self.manifest["machines"] = {}
        self.manifest["observability"]["alertmanager"]["receivers"] = {}
        self.manifest["secrets"] = {}
        self.manifest["lab"]["hosts"] = {"data": ["data", "pair"], "app": ["app", "pair"]}
        self.postgresql["memory_max"] = "256MiB"
        self.write()

    def write(self) -> None:
        (self.root / "platforms/ymera.yaml").write_text(yaml.safe_dump(self.manifest))

    @property
    def postgresql(self) -> dict[str, Any]:
        service: dict[str, Any] = self.manifest["services"]["postgresql"]
        return service

    def migration(self, name: str, text: str) -> Path:
        path = self.root / "platforms/ymera/migrations" / name
        path.write_text(text)
        return path

    def apply(self, release: str = "1") -> RunResult:
        self.write()
        (self.root / "release").write_text(release)
        return api.apply("lab", root=self.root, deploys=[DEPLOY])

    def plan(self) -> RunResult:
        self.write()
        return api.plan("lab", root=self.root, deploys=[DEPLOY])

    def run(self, host: str, command: str) -> str:
        state = LabState(NAME, ROOT)
        return capture_command(state, find_host(state, host), [command])[1].strip()

    def ask(self, query: str, database: str = "ymera", host: str = "data") -> str:
        return self.run(host, f'cd / && runuser -u postgres -- psql -X -A -t -d {database} -c "{query}" 2>&1')

    def started(self, unit: str = UNIT) -> str:
        return self.run("data", f"systemctl show --property=ExecMainStartTimestampMonotonic --value {unit}")


def changes(result: RunResult) -> dict[str, list[str]]:
    quiet = (OperationStatus.UNCHANGED,)
    return {host.name: [op.name for op in host.operations if op.status not in quiet] for host in result.hosts}


def failures(result: RunResult) -> dict[str, str]:
    assert result.problems == ()
    return {host.name: str(host.reason) for host in result.hosts if host.failed}


@pytest.fixture(scope="module")
def module_stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    before = os.environ.get("GROUNDWORK_LAB")
    os.environ["GROUNDWORK_LAB"] = NAME
    boot_lab(NAME, "ymera", RELEASE, Phases(print))
    site = load_site("lab", ROOT)
    site.secrets.initialise()
    site.secrets.ensure(name_declarations(site.topology.secret_declarations))
    site.authority.initialise()
    yield Stage(tmp_path_factory.mktemp("project"))
    if before is None:
        del os.environ["GROUNDWORK_LAB"]
    else:
        os.environ["GROUNDWORK_LAB"] = before
    if not os.environ.get("GROUNDWORK_KEEP_LAB"):
        remove_lab(NAME)


@pytest.fixture
def stage(module_stage: Stage) -> Stage:
    """The stage with PostgreSQL as ymera declares it."""
    module_stage.reset()
    module_stage.ask("DELETE FROM groundwork.migrations WHERE name > '0004'")
    assert failures(module_stage.apply()) == {}
    return module_stage


def test_plan_on_bare_hosts_then_apply_then_nothing_more(module_stage: Stage) -> None:
    planned = module_stage.plan()
    assert failures(planned) == {}
    assert len(changes(planned)["data"]) > 8
    assert failures(module_stage.apply()) == {}
    assert changes(module_stage.plan()) == {"data": [], "app": []}
    assert changes(module_stage.apply()) == {"data": [], "app": []}


def test_a_failing_migration_stops_the_release_and_names_its_statement(stage: Stage) -> None:
    stage.migration("0101_good.sql", "CREATE TABLE kept (x int);\n")
    text = (
        "CREATE TABLE lost (x int);\n\nINSERT INTO lost VALUES (1);\nALTER TABLE no_such_table\n  ADD COLUMN y int;\n"
    )
    bad = stage.migration("0102_bad.sql", text)
    before = stage.started()
    failed = failures(stage.apply(release="2"))
    assert "ymera/migrations/0102_bad.sql:4" in failed["data"]
    assert 'relation "no_such_table" does not exist' in failed["data"]
    assert "ALTER TABLE no_such_table" in failed["data"]
    assert "the running release stays" in failed["app"]
    assert [stage.run(host, "cat /run/released") for host in ("app", "data")] == ["1", "1"]
    assert stage.started() == before
    assert stage.ask("SELECT to_regclass('kept'), to_regclass('lost')") == "kept|"
    bad.write_text("CREATE TABLE found (x int);\n")
    assert failures(stage.apply(release="3")) == {}
    assert stage.run("app", "cat /run/released") == "3"
    assert stage.ask("SELECT count(*) FROM groundwork.migrations WHERE name > '0100'") == "2"
    assert stage.ask("DROP TABLE kept, found") == "DROP TABLE"


def test_a_limited_run_looks_at_the_database_it_leaves_out(stage: Stage) -> None:
    stage.migration("0103_later.sql", "SELECT 1;\n")
    stage.write()
    (stage.root / "release").write_text("4")
    limited = api.apply("lab", root=stage.root, deploys=[DEPLOY], limit=["app"])
    assert "lacks 0103_later.sql" in failures(limited)["app"]
    assert stage.run("app", "cat /run/released") == "1"
    assert failures(stage.apply(release="4")) == {}
    limited = api.apply("lab", root=stage.root, deploys=[DEPLOY], limit=["app"])
    assert failures(limited) == {}


def test_a_changed_migration_is_refused_before_anything_changes(stage: Stage) -> None:
    first = stage.root / "platforms/ymera/migrations/0001_messages.sql"
    first.write_text(first.read_text() + "\n-- an afterthought\n")
    stage.postgresql["maximum_connections"] = 20
    failed = failures(stage.apply(release="5"))
    assert "0001_messages.sql: was changed after it had been applied" in failed["data"]
    assert stage.ask("SHOW max_connections") != "20"


def test_a_full_disk_rolls_a_migration_back(stage: Stage) -> None:
    setup = "mkdir -p /var/lib/postgresql/small && mount -t tmpfs -o size=8m,uid=postgres,mode=700 none"
    stage.run("data", f"{setup} /var/lib/postgresql/small")
    # The sandbox was made before the disk was there.
    extra = f"mkdir -p /run/systemd/system/{UNIT}.d && printf '[Service]\\nReadWritePaths=/var/lib/postgresql/small\\n'"
    stage.run("data", f"{extra} > /run/systemd/system/{UNIT}.d/60-test.conf; systemctl daemon-reload")
    stage.run("data", f"systemctl restart {UNIT}")
    try:
        stage.ask("CREATE TABLESPACE small LOCATION '/var/lib/postgresql/small'")
        stage.ask("GRANT CREATE ON TABLESPACE small TO ymera")
        text = "CREATE TABLE big (t text) TABLESPACE small;\nINSERT INTO big SELECT repeat(md5(g::text), 30)"
        stage.migration("0104_big.sql", f"{text} FROM generate_series(1, 100000) g;\n")
        failed = failures(stage.apply(release="6"))
        assert "0104_big.sql:2" in failed["data"]
        assert "No space left on device" in failed["data"]
        assert stage.ask("SELECT to_regclass('big') IS NULL") == "t"
        assert stage.run("app", "cat /run/released") == "1"
    finally:
        stage.ask("DROP TABLESPACE small")
        stage.run("data", f"rm -f /run/systemd/system/{UNIT}.d/60-test.conf; systemctl daemon-reload")
        stage.run("data", f"systemctl restart {UNIT}; umount /var/lib/postgresql/small")


def test_a_database_of_somebody_else_is_refused_and_kept(stage: Stage) -> None:
    stage.ask("CREATE ROLE legacy")
    stage.ask("CREATE DATABASE archive OWNER legacy")
    try:
        stage.postgresql["databases"]["archive"] = {}
        failed = failures(stage.apply())
        assert "database archive belongs to legacy" in failed["data"]
        assert stage.ask("SELECT count(*) FROM pg_roles WHERE rolname = 'archive'") == "0"
    finally:
        stage.ask("DROP DATABASE archive")
        stage.ask("DROP ROLE legacy")


def test_rights_that_differ_are_repaired(stage: Stage) -> None:
    stage.ask("ALTER ROLE drafting SUPERUSER PASSWORD 'known'")
    stage.ask("GRANT pg_read_all_data TO drafting")
    stage.ask("ALTER ROLE drafting SET statement_timeout = 0")
    stage.ask("REVOKE SELECT ON drafts FROM drafting")
    stage.ask("GRANT TRUNCATE ON drafts TO PUBLIC")
    stage.ask("GRANT ALL ON SCHEMA public TO PUBLIC")
    assert len(changes(stage.plan())["data"]) == 2
    assert failures(stage.apply()) == {}
    flags = "rolsuper, rolpassword IS NULL"
    assert stage.ask(f"SELECT {flags} FROM pg_authid WHERE rolname = 'drafting'") == "f|t"
    assert stage.ask("SELECT has_table_privilege('drafting', 'drafts', 'SELECT')") == "t"
    assert stage.ask("SELECT has_table_privilege('drafting', 'drafts', 'TRUNCATE')") == "f"
    assert stage.ask("SELECT has_schema_privilege('drafting', 'public', 'CREATE')") == "f"
    assert changes(stage.plan()) == {"data": [], "app": []}


def test_a_group_that_is_no_longer_declared_loses_its_role(stage: Stage) -> None:
    stage.ask("CREATE TABLE mine (x int); ALTER TABLE mine OWNER TO drafting")
    group = stage.manifest["groups"]["drafting"]
    group["needs"] = [need for need in group["needs"] if not isinstance(need, dict) or need["name"] != "postgresql"]
    for key in ("POSTGRES_URL",):
        group["configuration"]["values"] = {k: v for k, v in group["configuration"]["values"].items() if k != key}
    group["configuration"]["schema"] = None
    assert failures(stage.apply()) == {}
    assert stage.ask("SELECT count(*) FROM pg_roles WHERE rolname = 'drafting'") == "0"
    assert stage.ask("SELECT tableowner FROM pg_tables WHERE tablename = 'mine'") == "ymera"
    assert "drafting" not in stage.run("data", "cat /etc/pgbouncer/groundwork/*")
    assert changes(stage.plan()) == {"data": [], "app": []}
    stage.ask("DROP TABLE mine")


def test_partitions_are_made_filled_and_dropped(stage: Stage) -> None:
    insert = "INSERT INTO message_history (type, sender, created_at) SELECT 'test', 'lab', "
    stage.ask(f"{insert} date_trunc('month', now()) + interval '5 months'")
    stage.ask(f"{insert} date_trunc('month', now()) - interval '2 months'")
    old = "date_trunc('month', now()) - interval '30 months'"
    stage.ask(
        "DO \\$\\$ BEGIN EXECUTE format('CREATE TABLE message_history_old PARTITION OF message_history FOR VALUES"
        f" FROM (%L) TO (%L)', {old}, {old} + interval '1 month'); END \\$\\$"
    )
    stage.run("data", "systemctl start ymera-postgresql-partitions.service")
    assert stage.ask("SELECT count(*) FROM message_history_default") == "0"
    assert stage.ask("SELECT count(*) FROM message_history WHERE sender = 'lab'") == "2"
    assert stage.ask("SELECT to_regclass('message_history_old') IS NULL") == "t"
    assert stage.run("data", "systemctl is-failed ymera-postgresql-partitions.service") == "inactive"
    owners = "SELECT DISTINCT tableowner FROM pg_tables WHERE tablename LIKE 'message_history%'"
    assert stage.ask(owners) == "ymera"
    stage.ask("DELETE FROM message_history WHERE sender = 'lab'")


def test_settings_reload_and_restart_only_where_they_must(stage: Stage) -> None:
    server, pool = stage.started(), stage.started("pgbouncer.service")
    stage.postgresql["pgbouncer"]["default_pool_size"] = 11
    stage.postgresql["maximum_connections"] = 38
    assert failures(stage.apply()) == {}
    assert (stage.started(), stage.started("pgbouncer.service")) == (server, pool)
    stage.postgresql["maximum_connections"] = 25
    assert failures(stage.apply()) == {}
    assert stage.ask("SHOW max_connections") == "25"
    assert stage.started() != server
    assert stage.started("pgbouncer.service") == pool
    assert changes(stage.plan()) == {"data": [], "app": []}


def test_a_new_certificate_is_served_without_a_restart(stage: Stage) -> None:
    server, pool = stage.started(), stage.started("pgbouncer.service")
    served = "openssl s_client -starttls postgres -connect $(hostname -I | cut -d' ' -f1):{} </dev/null 2>/dev/null"
    ports = (5432, 6432)
    ask = [f"{served.format(port)} | openssl x509 -noout -serial" for port in ports]
    before = [stage.run("data", command) for command in ask]
    stage.run("data", "rm -rf /etc/groundwork/ymera/certificates/postgresql*")
    assert failures(stage.apply()) == {}
    after = [stage.run("data", command) for command in ask]
    assert all(serial.startswith("serial=") for serial in before + after)
    assert not set(before) & set(after)
    assert (stage.started(), stage.started("pgbouncer.service")) == (server, pool)


def test_killed_runs_are_completed_by_the_next(stage: Stage) -> None:
    generator = random.Random(7)
    code = "import sys; from pathlib import Path; from groundwork.engine import api; "
    code += "api.apply('lab', root=Path(sys.argv[1]), deploys=[Path(sys.argv[2])])"
    for number in range(3):
        stage.migration(f"02{number:02}_step.sql", f"CREATE TABLE step{number} (x int);\nSELECT pg_sleep(1);\n")
        stage.postgresql["maximum_connections"] = 30 + number
        stage.write()
        process = subprocess.Popen([sys.executable, "-c", code, stage.root, DEPLOY], cwd=ROOT, start_new_session=True)
        time.sleep(generator.uniform(3.0, 12.0))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert failures(stage.apply()) == {}
        assert stage.ask(f"SELECT count(*) FROM step{number}") == "0"
        assert stage.ask("SHOW max_connections") == str(30 + number)
        assert changes(stage.plan()) == {"data": [], "app": []}
    stage.ask("DROP TABLE step0, step1, step2")


def test_a_replica_follows_and_is_made_anew_when_its_log_is_gone(stage: Stage) -> None:
    stage.postgresql["hosts"] = "pair"
    assert failures(stage.apply()) == {}
    assert changes(stage.plan()) == {"data": [], "app": []}
    stage.ask("CREATE TABLE copied (x int); INSERT INTO copied VALUES (42)")
    time.sleep(2)
    assert stage.ask("SELECT x FROM copied", host="app") == "42"
    assert "read-only" in stage.ask("INSERT INTO copied VALUES (1)", host="app")
    # Gone for a while: it resumes.
    stage.run("app", f"systemctl stop {UNIT}")
    stage.ask("INSERT INTO copied VALUES (43)")
    assert failures(stage.apply()) == {}
    assert stage.ask("SELECT count(*) FROM copied", host="app") == "2"
    # Gone for longer than the primary keeps its log.
    stage.run("app", f"systemctl stop {UNIT}")
    stage.ask("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'")
    stage.ask("SELECT pg_reload_conf()")
    for _ in range(4):
        stage.ask("INSERT INTO copied SELECT generate_series(1, 10000); SELECT pg_switch_wal()")
        stage.ask("CHECKPOINT")
    assert stage.ask("SELECT wal_status FROM pg_replication_slots") == "lost"
    stage.ask("ALTER SYSTEM RESET max_slot_wal_keep_size")
    stage.ask("SELECT pg_reload_conf()")
    assert failures(stage.apply()) == {}
    assert stage.ask("SELECT count(*) FROM copied", host="app") == "40002"
    # Written to on its own: nothing is thrown away.
    stage.run("app", f"cd / && runuser -u postgres -- pg_ctlcluster {VERSION} main promote; sleep 2")
    stage.ask("INSERT INTO copied VALUES (-44)", host="app")
    assert "move it away" in failures(stage.apply())["app"]
    assert stage.ask("SELECT count(*) FROM copied WHERE x = -44", host="app") == "1"
    stage.postgresql["hosts"] = "data"
    assert failures(stage.apply()) == {}
    assert stage.ask("SELECT count(*) FROM pg_replication_slots") == "0"
    stage.ask("DROP TABLE copied")
    assert stage.run("app", f"systemctl is-active {UNIT}") == "inactive"
    stage.run("app", f"rm -rf /var/lib/postgresql/{VERSION}/main /etc/postgresql/{VERSION}/main")


def test_it_leaves_its_data_and_nothing_that_runs(stage: Stage) -> None:
    stage.ask("INSERT INTO drafts (title, owner) VALUES ('stays', 'lab')")
    stage.postgresql["hosts"] = "app"
    assert failures(stage.apply()) == {}
    left = stage.run("data", "ls -R /etc/systemd/system /etc/pgbouncer /usr/local/lib/groundwork; ss -Hltn")
    assert "postgresql-follow" not in left
    assert "groundwork.conf" not in left
    assert ":5432" not in left
    assert ":6432" not in left
    assert stage.run("data", f"cat /etc/postgresql/{VERSION}/main/start.conf") == "manual"
    assert changes(stage.plan()) == {"data": [], "app": []}
    stage.postgresql["hosts"] = "data"
    assert failures(stage.apply()) == {}
    assert stage.ask("SELECT count(*) FROM drafts WHERE title = 'stays'") == "1"
    stage.ask("DELETE FROM drafts WHERE title = 'stays'")
