"""Vendors' apt repositories: priorities, the key if its fingerprint is pinned, the source if apt accepts it."""

from __future__ import annotations

from pyinfra import host
from pyinfra.api import deploy

from groundwork.artifacts.store import (
    ArtifactStore,
    StoreFailure,
    architecture_of,
    describe_failure,
    open_store,
    release_of,
)
from groundwork.operations import ledger, validated_files
from groundwork.operations.refusals import refusing
from groundwork.operations.vendor_packages import advise, source_path
from groundwork.problems import Problem, ProblemError
from groundwork.site import Site
from roles.artifacts import plan

# A trial in a folder of its own: a source that apt refuses would break every later update of the host.
TRIAL = (
    'lists=$(mktemp -d) && trap \'rm -rf -- "$lists"\' EXIT && mkdir "$lists/partial" && '
    'chmod 0755 "$lists" && { ! getent passwd _apt >/dev/null || chown _apt "$lists/partial"; } && '
    "apt-get -q update --error-on=any -o Dir::Etc::SourceList={candidate} -o Dir::Etc::SourceParts=/dev/null "
    '-o Dir::State::Lists="$lists" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o Acquire::Retries=2'
)


@deploy("Trust vendors' repositories")
def artifacts(site: Site) -> None:
    """Set up the repositories that the host's servers need, and take away those they need no longer."""
    with refusing():
        store = open_store(site)
        sources = plan.plan_sources(site.platform, site.topology, store.lock, host.name)
        release = release_of(host.data.dict())
        keys = {one.name: _read_key(store, one.name) for one in sources}
        pins = {one.name: "" if store.offline else _read_pin(store, one.name, release) for one in sources}
    items = plan.list_items(sources, {one.name: source_path(one.name) for one in sources}, store.offline)
    ledger.begin(name="Note what artifacts lays down", role=plan.ROLE, items=items)
    for one in sources:
        validated_files.validated_template(
            name=f"Take nothing but {', '.join(one.packages)} from {one.name}",
            src="artifacts/preferences.j2",
            dest=one.preferences,
            data={"repository": one.name, "packages": one.packages, "pin": pins[one.name]},
        )
        if not store.offline:
            _add_source(store, one, keys[one.name], release)
    ledger.finish(name="Remove what artifacts no longer declares", role=plan.ROLE, items=items)


def _add_source(store: ArtifactStore, one: plan.VendorSource, key: str, release: str) -> None:
    validated_files.validated_file(name=f"Place the key of {one.name}", dest=one.key, content=key)
    validated_files.validated_template(
        name=f"Add the repository {one.name}",
        src="artifacts/source.sources.j2",
        dest=source_path(one.name),
        data={
            "preferences": one.preferences,
            "uri": store.root_url(one.name),
            "suite": one.declared.suite_for(release),
            "components": [] if one.declared.is_flat else one.declared.components,
            "architecture": architecture_of(host.data.dict()),
            "key": one.key,
        },
        check=TRIAL,
    )


def _read_key(store: ArtifactStore, repository: str) -> str:
    """The key as text. Raises ProblemError where it is not here or not the pinned one."""
    from groundwork.artifacts.openpgp import armour

    try:
        return armour(store.read_key(repository))
    except StoreFailure as error:
        raise ProblemError([_problem(store, f"the key of {repository}", error)]) from None


def _read_pin(store: ArtifactStore, repository: str, release: str) -> str:
    try:
        return store.origin_pin(repository, release)
    except StoreFailure as error:
        raise ProblemError([_problem(store, f"the index of {repository}", error)]) from None


def _problem(store: ArtifactStore, what: str, error: Exception) -> Problem:
    return Problem(f"{what} {describe_failure(error)}", str(store.folder), allowed=advise(store))
