"""Templates of the roles: Jinja2, where an unknown name is an error and no secret gets in by accident."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from groundwork.secrets.value import SecretValue, refuse_masked

TEMPLATES = Path(__file__).resolve().parents[2] / "templates"


def _environment(folder: Path) -> Environment:
    # autoescape is for HTML; what is rendered here are configuration files.
    return Environment(
        loader=FileSystemLoader(folder),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
    )


def _refuse_secret(value: object) -> object:
    if isinstance(value, SecretValue):
        raise ValueError("the template uses a secret: render it with render_secret and write it with secret_file")
    return value


def _reveal(value: object) -> object:
    return value.reveal() if isinstance(value, SecretValue) else value


def _render(source: str | Path, data: dict[str, Any], secret: bool) -> str:
    path = TEMPLATES / source
    environment = _environment(path.parent)
    environment.finalize = _reveal if secret else _refuse_secret
    return refuse_masked(environment.get_template(path.name).render(**data), str(source))


def render_template(source: str | Path, **data: Any) -> str:
    """Render a template that has no secret in it.

    ``source`` is relative to the repository's ``templates`` folder (``"redis/redis.conf.j2"``) or absolute.
    Raises jinja2.UndefinedError for a name that ``data`` lacks and ValueError when a secret would be shown.
    """
    return _render(source, data, secret=False)


def render_secret(source: str | Path, **data: Any) -> SecretValue:
    """Render a template that secrets go into; the whole text is then a secret.

    A ``SecretValue`` anywhere in ``data`` is revealed where the template prints it (``{{ password }}``).
    A filter gets the holder, not the text: reveal it before.
    """
    return SecretValue(_render(source, data, secret=True))
