from __future__ import annotations

from pathlib import Path

import jinja2
import pytest
from pyinfra.api.hiddenvalue import HiddenValue

from groundwork.operations.rendering import render_secret, render_template
from groundwork.secrets.value import SecretValue

SECRET = SecretValue("canary-1b7d")


@pytest.fixture
def template(tmp_path: Path) -> Path:
    path = tmp_path / "a.conf.j2"
    path.write_text("{% for user in users %}\nuser {{ user.name }} >{{ user.password }}\n{% endfor %}\n")
    return path


def test_a_secret_is_revealed_at_any_depth_and_stays_one(template: Path) -> None:
    rendered = render_secret(template, users=[{"name": "api", "password": SECRET}])
    assert isinstance(rendered, SecretValue)
    assert rendered.reveal() == "user api >canary-1b7d\n"


def test_a_plain_template_refuses_secrets_and_masks(template: Path) -> None:
    for password in (SECRET, HiddenValue("x"), "*MASKED*"):  # type: ignore[no-untyped-call]
        with pytest.raises(ValueError) as caught:
            render_template(template, users=[{"name": "api", "password": password}])
        assert "canary" not in str(caught.value)


def test_a_name_that_is_missing_is_an_error(template: Path) -> None:
    with pytest.raises(jinja2.UndefinedError):
        render_template(template, users=[{"name": "api"}])
    with pytest.raises(jinja2.UndefinedError):
        render_template(template)


def test_formatting_a_secret_before_rendering_is_noticed(template: Path) -> None:
    with pytest.raises(ValueError, match="MASKED"):
        render_secret(template, users=[{"name": "api", "password": f"{SECRET}"}])
