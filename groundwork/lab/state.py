"""The lab's state folder ``.lab/<name>/``: what the lab is meant to be, its keys and its inventory."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from groundwork.lab.errors import lab_error
from groundwork.lab.labels import object_prefix

DEFAULT_NAME = "default"
_NAME = re.compile(r"^[a-z0-9]([a-z0-9-]{0,22}[a-z0-9])?$")


@dataclass(frozen=True)
class LabHost:
    """One host of a lab: its name, inventory groups and IPv4 address."""

    name: str
    address: str
    groups: tuple[str, ...]
    gpus: tuple[str, ...] = ()
    """Models of the cards that it seems to have."""


@dataclass(frozen=True)
class LabSpec:
    """What a lab is meant to be. Written before anything is created, so a killed ``up`` can be completed."""

    name: str
    platform: str
    release: str
    image: str
    subnet: str
    hosts: tuple[LabHost, ...]


def checkout_root() -> Path:
    """Return the folder of the checkout this package runs from."""
    return Path(__file__).resolve().parents[2]


def current_name() -> str:
    """Return the lab's name: environment variable ``GROUNDWORK_LAB``, else ``default``."""
    return os.environ.get("GROUNDWORK_LAB") or DEFAULT_NAME


def check_name(name: str) -> str:
    """Return ``name`` if it can be a lab's name (it becomes part of container and file names)."""
    if not _NAME.match(name):
        raise lab_error(
            "not a usable lab name", key="--name", given=name, allowed="1 to 24 of a-z, 0-9 and inner hyphens"
        )
    return name


def write_atomically(path: Path, text: str, mode: int = 0o600) -> None:
    """Replace ``path`` by ``text`` so that a reader, or a run killed meanwhile, sees the old or the new whole."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(mode)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


class LabState:
    """The files of one lab. Creating the object touches nothing."""

    def __init__(self, name: str, root: Path | None = None) -> None:
        self.name = check_name(name)
        self.root = root or checkout_root()
        self.folder = self.root / ".lab" / name

    @property
    def spec_file(self) -> Path:
        """What the lab is meant to be (JSON)."""
        return self.folder / "lab.json"

    @property
    def inventory_file(self) -> Path:
        """What pyinfra's inventory reads (JSON); exists once the hosts answered."""
        return self.folder / "inventory.json"

    @property
    def known_hosts_file(self) -> Path:
        """The hosts' public keys, as OpenSSH writes them."""
        return self.folder / "known_hosts"

    @property
    def key_file(self) -> Path:
        """The private SSH key the hosts accept."""
        return self.folder / "ssh" / "id_ed25519"

    @property
    def secrets_folder(self) -> Path:
        """The folder of the lab's encrypted secrets."""
        return self.folder / "secrets"

    @property
    def secrets_key(self) -> Path:
        """The age key of this lab, kept outside the checkout; ``down`` removes it."""
        config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
        return config / "groundwork" / "keys" / f"{object_prefix(self.root, self.name)}.agekey"

    def create(self) -> None:
        """Make the folder, readable by its owner alone."""
        (self.root / ".lab").mkdir(mode=0o700, exist_ok=True)
        self.folder.mkdir(mode=0o700, exist_ok=True)

    def read_spec(self) -> LabSpec | None:
        """Return what the lab is meant to be, or None where there is no such lab."""
        data = _read_json(self.spec_file)
        if data is None:
            return None
        hosts = tuple(
            LabHost(h["name"], h["address"], tuple(h["groups"]), tuple(h.get("gpus", ()))) for h in data.pop("hosts")
        )
        return LabSpec(hosts=hosts, **data)

    def write_spec(self, spec: LabSpec) -> None:
        """Record what the lab is meant to be."""
        write_atomically(self.spec_file, json.dumps(asdict(spec), indent=2) + "\n")

    def read_inventory(self) -> dict[str, Any] | None:
        """Return the inventory's data, or None while the lab's hosts are not up."""
        return _read_json(self.inventory_file)

    def write_inventory(self, data: dict[str, Any]) -> None:
        """Record the inventory's data."""
        write_atomically(self.inventory_file, json.dumps(data, indent=2) + "\n")

    def remove(self) -> None:
        """Remove the folder and the lab's age key; nothing happens where they are gone already."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.secrets_key.unlink(missing_ok=True)


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise lab_error(f"the lab's state cannot be read ({error}); `lab down` clears it", key=str(path)) from error
    if not isinstance(data, dict):
        raise lab_error("the lab's state is not a mapping; `lab down` clears it", key=str(path))
    return data


def list_names(root: Path | None = None) -> list[str]:
    """Return the names of the labs this checkout has state of, sorted."""
    base = (root or checkout_root()) / ".lab"
    if not base.is_dir():
        return []
    return sorted(entry.name for entry in base.iterdir() if entry.is_dir() and _NAME.match(entry.name))


@contextmanager
def locked(path: Path, *, shared: bool = False, wait: bool = True) -> Iterator[bool]:
    """Hold an advisory lock on ``path``; yields False when it is held elsewhere and ``wait`` is False.

    The kernel drops the lock when the process ends, however it ends.
    """
    mode = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
    with ExitStack() as stack:
        while True:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                file = stack.enter_context(path.open("a", encoding="utf-8"))
            except FileNotFoundError:
                continue
            try:
                fcntl.flock(file, mode)
            except BlockingIOError:
                yield False
                return
            if _is_file(path, file.fileno()):
                break
            # Its holder has removed it in the meantime: a lock on a file without a name keeps nobody out.
            stack.close()
        yield True


def _is_file(path: Path, descriptor: int) -> bool:
    try:
        named = path.stat()
    except FileNotFoundError:
        return False
    return os.path.samestat(named, os.fstat(descriptor))


def remove_locks(folder: Path) -> None:
    """Remove the lock files of a folder that nobody holds, and the folder when none is left."""
    with suppress(OSError):
        for path in list(folder.iterdir()):
            with locked(path, wait=False) as free:
                if free:
                    path.unlink(missing_ok=True)
        folder.rmdir()
