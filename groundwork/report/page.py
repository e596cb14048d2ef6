"""A report as one HTML page that needs no other file, no script and no network."""

from __future__ import annotations

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from groundwork.operations.rendering import TEMPLATES
from groundwork.report.overview import Overview


def render_page(overview: Overview) -> str:
    """Return the page. Everything that hosts told is escaped; drawings are this package's own."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES / "report"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=True,
    )
    return environment.get_template("page.html.j2").render(overview=overview, drawing=Markup)
