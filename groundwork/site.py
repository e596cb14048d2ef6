"""One environment as a whole: its inventory, its platform, its topology and its secrets."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from groundwork.inventory import Inventory, make_inventory
from groundwork.manifest import LoadedPlatform, Platform, load
from groundwork.problems import Problem, ProblemError
from groundwork.topology import Topology, derive

if TYPE_CHECKING:
    from pyinfra.api.inventory import Inventory as PyinfraInventory

    from groundwork.authority.store import AuthorityStore
    from groundwork.secrets.store import SecretStore
    from groundwork.secrets.value import SecretValue


@dataclass(frozen=True)
class Site:
    """Everything that is known about one environment before a host is contacted."""

    root: Path
    """The project's folder, which holds inventories/ and platforms/."""
    environment: str
    loaded: LoadedPlatform = field(repr=False)
    inventory: Inventory = field(repr=False)
    topology: Topology = field(repr=False)
    secrets_folder: Path
    secrets_key: Path
    state_folder: Path
    """Where commands keep what they must remember of the environment; it may be lost, and is not to be committed."""

    @property
    def platform(self) -> Platform:
        """The validated manifest."""
        return self.loaded.platform

    @property
    def folder(self) -> Path:
        """The folder that the manifest's relative paths start from."""
        return self.loaded.folder

    @cached_property
    def secrets(self) -> SecretStore:
        """The environment's encrypted secrets."""
        from groundwork.secrets.store import SecretStore

        return SecretStore(self.secrets_folder, self.secrets_key)

    @cached_property
    def authority(self) -> AuthorityStore:
        """The environment's certificate authority."""
        from groundwork.authority.store import FOLDER, AuthorityStore

        return AuthorityStore(self.secrets_folder / FOLDER, self.secrets, self.environment)

    def secret(self, name: str) -> SecretValue:
        """Return one secret's value. Raises ProblemError when it is not set or cannot be decrypted."""
        return self.secrets.read(name)

    def path(self, relative: str) -> Path:
        """Return a path of the manifest as an absolute one."""
        return (self.folder / relative).resolve()


def find_root(start: Path | None = None) -> Path:
    """Return the project's folder: GROUNDWORK_ROOT, else the nearest one above ``start`` with inventories/."""
    named = os.environ.get("GROUNDWORK_ROOT")
    if named:
        return Path(named).resolve()
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / "inventories").is_dir() and (folder / "platforms").is_dir():
            return folder
    return Path(__file__).resolve().parent.parent


def list_environments(root: Path) -> list[str]:
    """Return the names of all environments of a project."""
    return sorted(path.stem for path in (root / "inventories").glob("*.py") if not path.stem.startswith("_"))


def load_site(environment: str, root: Path | None = None) -> Site:
    """Load one environment. Contacts nothing.

    Raises ProblemError with every mistake in inventory, manifest and overlay, or in how they fit together.
    """
    root = root or find_root()
    path = root / "inventories" / f"{environment}.py"
    if not path.is_file():
        known = list_environments(root)
        nearest = difflib.get_close_matches(environment, known, 1)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
        message = f"there is no environment {environment!r}{hint}"
        raise ProblemError([Problem(message, f"inventories/{environment}.py", allowed=", ".join(known))])
    return _make_site(root, environment, _read_inventory(path, root), f"inventories/{environment}.py")


_current: WeakKeyDictionary[PyinfraInventory, Site] = WeakKeyDictionary()


def current_site() -> Site:
    """Return the site of the running pyinfra deploy; loaded once per run.

    Raises pyinfra's own error with one line per mistake, so that plain pyinfra shows it without a traceback.
    """
    from pyinfra import state
    from pyinfra.api.exceptions import PyinfraError
    from pyinfra.context import ctx_inventory

    running = ctx_inventory.get()
    if running in _current:
        return _current[running]
    try:
        root = find_root(Path(state.cwd) if state.cwd else None)
        site = _make_site(root, None, _host_table(running), "the inventory")
    except ProblemError as error:
        raise PyinfraError(str(error)) from None
    _current[running] = site
    return site


_Hosts = dict[str, tuple[frozenset[str], Mapping[str, Any]]]


def _read_inventory(path: Path, root: Path) -> _Hosts:
    """Run an inventory file as pyinfra does, group data included."""
    from pyinfra.api.state import State
    from pyinfra.context import ctx_state

    from groundwork.engine.unpatched import import_pyinfra_cli

    import_pyinfra_cli()
    from pyinfra_cli.inventory import make_inventory as read

    name = str(path.relative_to(root))
    try:
        # pyinfra notes in its state which file it executes, so there must be one.
        with ctx_state.use(State()):
            inventory = read(str(path), cwd=str(root))
    except ProblemError:
        raise
    except SyntaxError as error:
        raise ProblemError([Problem(f"is not Python: {error.msg}", name, error.lineno or 0)]) from None
    except Exception as error:
        cause = getattr(error, "exception", error)
        if isinstance(cause, ProblemError):
            raise cause from None
        raise ProblemError([Problem(f"cannot be read: {type(cause).__name__}: {cause}", name)]) from None
    return _host_table(inventory)


def _host_table(inventory: PyinfraInventory) -> _Hosts:
    return {host.name: (frozenset(host.groups), host.data.dict()) for host in inventory.hosts.values()}


def _make_site(root: Path, environment: str | None, hosts: _Hosts, shown: str) -> Site:
    inventory = make_inventory(hosts, shown)
    environment = environment or _one_value(inventory, "environment")
    platform = _one_value(inventory, "platform")
    loaded = load(root / "platforms", platform, environment, root=root)
    try:
        topology = derive(loaded.platform, inventory, environment)
    except ProblemError as error:
        raise ProblemError([loaded.source.place(problem) for problem in error.problems]) from None
    data = inventory.hosts[0].data
    folder = Path(data.get("secrets_folder") or f"inventories/secrets/{environment}")
    state = Path(data.get("state_folder") or f".state/{environment}").expanduser()
    return Site(
        root=root,
        environment=environment,
        loaded=loaded,
        inventory=inventory,
        topology=topology,
        secrets_folder=folder if folder.is_absolute() else root / folder,
        secrets_key=_key_path(environment, data.get("secrets_key")),
        state_folder=state if state.is_absolute() else root / state,
    )


def _one_value(inventory: Inventory, key: str) -> str:
    """Return the datum that all hosts share. Raises ProblemError when it is missing or differs."""
    values = {str(host.data[key]) for host in inventory.hosts if host.data.get(key)}
    if len(values) == 1:
        return values.pop()
    message = f"the hosts name different values for {key!r}" if values else f"no host datum {key!r} is set"
    allowed = f"one line in group_data/<environment>.py: {key} = ..."
    raise ProblemError([Problem(message, inventory.file, key=key, given=", ".join(sorted(values)), allowed=allowed)])


def _key_path(environment: str, declared: Any) -> Path:
    named = os.environ.get("GROUNDWORK_AGE_KEY_FILE") or declared
    if named:
        return Path(str(named)).expanduser()
    base = os.environ.get("XDG_CONFIG_HOME")
    folder = Path(base) if base else Path.home() / ".config"
    return folder / "groundwork" / "keys" / f"{environment}.agekey"
