"""Replaces an authority while everything runs: trust both, prove it, re-issue, drop the old one.

Each stage can be done again at no harm, and what is next is on disk: a rotation that was killed goes on where it was.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from groundwork.authority.leaves import make_leaf
from groundwork.authority.serving import Handshake, judge_accepted, judge_refused
from groundwork.authority.store import AuthorityStore
from groundwork.problems import Problem, ProblemError
from groundwork.secrets.keys import write_atomically
from groundwork.topology.accounts import ROOT
from groundwork.topology.model import Identity

FILE = "rotation.json"
STAGES = {
    "prepare": "make the new root and intermediate",
    "trust": "have every host trust the old and the new root",
    "prove": "shake hands with every endpoint with a certificate of the new authority",
    "issue": "replace every certificate by one of the new authority",
    "drop": "have every host forget the old root, and see its certificates refused",
}
PROBE_LIFE = timedelta(hours=1)


@dataclass(frozen=True)
class Rotation:
    """A rotation under way: ``stage`` is the next thing to do, ``old`` and ``new`` are generations."""

    stage: str
    old: str
    new: str
    started: str


class Hands(Protocol):
    """What a rotation needs done on the hosts. Both raise ProblemError when a host could not be dealt with."""

    def converge(self) -> None:
        """Bring trust and certificates to every host, and have services load them."""

    def check_served(self) -> None:
        """Check over the wire that every endpoint serves the certificate installed for it."""

    def probe(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey, chain: bytes) -> list[Handshake]:
        """Shake hands with every endpoint, from its own host, with a certificate and the chain above it (PEM)."""


def read_rotation(folder: Path) -> Rotation | None:
    """The rotation under way, or None. Raises ProblemError when its file is damaged."""
    path = folder / FILE
    try:
        document = json.loads(path.read_text("utf-8"))
        rotation = Rotation(**{key: value for key, value in document.items() if key != "version"})
        if document["version"] != 1 or rotation.stage not in STAGES:
            raise ValueError("another version")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        allowed = "the file as it was; or remove it: authority.json says how far the rotation is"
        problem = Problem("the state of the authority's rotation is damaged", file=str(path), allowed=allowed)
        raise ProblemError([problem]) from None
    return rotation


def rotate_authority(
    store: AuthorityStore, hands: Hands, say: Callable[[str], None], clock: Callable[[], datetime] | None = None
) -> Rotation:
    """Go through the stages that are left, from the first where no rotation is under way.

    Raises ProblemError where a stage fails; hosts keep working with what they have, and the next call tries that
    stage again.
    """
    clock = clock or (lambda: datetime.now(UTC))
    rotation = read_rotation(store.folder)
    if rotation is None:
        rotation = _begin(store, clock())
    else:
        say(f"a rotation begun at {rotation.started} goes on at stage {rotation.stage}")
    actions: dict[str, Callable[[], None]] = {
        "prepare": lambda: store.create_generation(rotation.new, clock()),
        "trust": lambda: _trust(store, hands, rotation),
        "prove": lambda: _prove(store, hands, rotation, say, clock()),
        "issue": lambda: _issue(store, hands, rotation),
        "drop": lambda: _drop(store, hands, rotation, clock()),
    }
    names = list(STAGES)
    for number in range(names.index(rotation.stage), len(names)):
        stage = names[number]
        say(f"{number + 1}/{len(names)} {stage}: {STAGES[stage]}")
        try:
            actions[stage]()
        except ProblemError as error:
            if stage == "prove":
                # A host that does not trust the new root yet gets it, and its services are reloaded, once more.
                _write(store.folder, replace(rotation, stage="trust"))
            told = f"the rotation of the authority stands at stage {stage} ({STAGES[stage]}); repeat the command"
            raise ProblemError([*error.problems, Problem(told, file=str(store.folder / FILE))]) from None
        if number + 1 < len(names):
            _write(store.folder, replace(rotation, stage=names[number + 1]))
    store.remove_untrusted()
    (store.folder / FILE).unlink(missing_ok=True)
    return rotation


def _begin(store: AuthorityStore, now: datetime) -> Rotation:
    state, time = store.state, now.isoformat(timespec="seconds")
    if len(state.trusted) > 1:
        # The file of a rotation was lost; what hosts trust and who issues says how far it was.
        old, new = state.trusted[0], state.trusted[-1]
        rotation = Rotation("trust" if state.issuer == old else "issue", old, new, time)
    else:
        numbers = [int(path.name) for path in store.folder.iterdir() if path.name.isdigit()]
        rotation = Rotation("prepare", state.issuer, str(max(numbers) + 1), time)
    _write(store.folder, rotation)
    return rotation


def _trust(store: AuthorityStore, hands: Hands, rotation: Rotation) -> None:
    store.set_state(store.state.changed(trusted=(rotation.old, rotation.new)))
    hands.converge()


def _prove(store: AuthorityStore, hands: Hands, rotation: Rotation, say: Callable[[str], None], now: datetime) -> None:
    handshakes = _shake(store, hands, rotation.new, now)
    for one in (one for one in handshakes if one.plain):
        say(f"{_place(one)} does not speak TLS: nothing to prove there")
    _refuse((one, judge_accepted(one)) for one in handshakes if not one.plain)


def _issue(store: AuthorityStore, hands: Hands, rotation: Rotation) -> None:
    store.set_state(store.state.changed(issuer=rotation.new))
    hands.converge()
    hands.check_served()


def _drop(store: AuthorityStore, hands: Hands, rotation: Rotation, now: datetime) -> None:
    store.set_state(store.state.changed(issuer=rotation.new, trusted=(rotation.new,)))
    hands.converge()
    if not (store.folder / rotation.old).exists():
        # Removed after the proof, by a run that was killed right then.
        return
    handshakes = _shake(store, hands, rotation.old, now)
    _refuse((one, judge_refused(one)) for one in handshakes if not one.plain)


def _shake(store: AuthorityStore, hands: Hands, generation: str, now: datetime) -> list[Handshake]:
    issuer = store.issuer(generation)
    uri = f"spiffe://{store.environment}/groundwork/probe"
    identity = Identity("probe", "", ("probe",), (), uri, "probe", ROOT)
    certificate, key = make_leaf(issuer, identity, now, PROBE_LIFE)
    return hands.probe(certificate, key, issuer.certificate.public_bytes(Encoding.PEM))


def _refuse(findings: Iterable[tuple[Handshake, str]]) -> None:
    problems = [Problem(why, key=_place(one)) for one, why in findings if why]
    if problems:
        raise ProblemError(problems)


def _place(handshake: Handshake) -> str:
    endpoint = handshake.endpoint
    return f"{endpoint.host}: {endpoint.unit} at {endpoint.address}:{endpoint.port}"


def _write(folder: Path, rotation: Rotation) -> None:
    write_atomically(folder / FILE, (json.dumps({"version": 1, **asdict(rotation)}, indent=1) + "\n").encode(), 0o644)
