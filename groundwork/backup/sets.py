"""The signed description of a backup set: what it holds, when and by whom it was made.

A set is one backup of one item by one host. Its data go to the repository first; the description is written last and
names the data by the repository's own identifier, which is a hash of all of it (restic: SHA-256 of the snapshot; for
pgBackRest the label, with the checksums of its own manifest). Data without a description are no set: a backup that
was killed leaves none. The envelope is what is stored: the description's exact bytes, their signature by the host's
``backup`` key (ECDSA over SHA-256), and the certificate with its intermediate, so that it can be judged years later by
whoever has the roots.

The program on the hosts (roles/backup/onhost) writes this form, and shares it with nobody: here it is read.
"""

from __future__ import annotations

import base64
import json
import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

FORMAT = 1
SetName = Annotated[str, Field(pattern=r"^\d{8}T\d{6}Z-[0-9a-f]{8}$")]
"""Moment of the backup (UTC) and eight hexadecimal digits that keep two apart."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SetObject(_Strict):
    """One file of a set."""

    path: str
    size: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Payload(_Strict):
    """Where the data are: in which program's repository, under which of its identifiers."""

    format: Literal["restic", "pgbackrest"]
    identifier: str
    """restic: the full snapshot ID. pgBackRest: the backup's label."""
    bytes: Annotated[int, Field(ge=0)]
    """Size of what was backed up, in bytes."""


class SetManifest(_Strict):
    """The description of one set."""

    format: Literal[1]
    set: SetName
    environment: str
    platform: str
    item: str
    kind: str
    service: str = ""
    host: str
    started: datetime
    """When the backup began: nothing newer is certain to be in it."""
    finished: datetime
    by: Literal["timer", "command"]
    tools: dict[str, str]
    """Versions of the programs that took part."""
    payload: Payload
    objects: list[SetObject]
    counts: dict[str, dict[str, Any]]
    """What a restore is compared with, by server, stream or database: keys, messages and sequences, rows."""


class Envelope(_Strict):
    """What lies in the repository for a set."""

    manifest: str
    """The description as JSON text; the signature is over its UTF-8 bytes."""
    signature: str
    """Base64 of the DER signature."""
    certificate: str
    """The signer's certificate and the intermediate's, PEM."""


class BrokenSetError(Exception):
    """An envelope or description that is not what it should be, in one line."""


def read_envelope(text: str) -> tuple[Envelope, SetManifest]:
    """Read an envelope; the signature is judged elsewhere. Raises BrokenSetError."""
    try:
        envelope = Envelope.model_validate_json(text)
        manifest = SetManifest.model_validate_json(envelope.manifest)
        base64.b64decode(envelope.signature, validate=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise BrokenSetError(f"the description is not of format {FORMAT}: {place}: {first['msg']}") from None
    except ValueError as error:
        raise BrokenSetError(f"the signature is not base64: {error}") from None
    return envelope, manifest


def set_time(name: str) -> datetime:
    """The moment in a set's name. Raises ValueError for what is no set's name."""
    if not re.fullmatch(r"\d{8}T\d{6}Z-[0-9a-f]{8}", name):
        raise ValueError(f"{name!r} is no set's name")
    return datetime.strptime(name[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)


def describe_schema() -> str:
    """The form of a description as JSON Schema, for whoever writes one."""
    return json.dumps(SetManifest.model_json_schema(), indent=2, sort_keys=True)
