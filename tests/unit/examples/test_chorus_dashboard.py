"""The dashboard: nothing inline, nothing from elsewhere, every name it uses exists."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from agent_runtime.chorus.api import Api
from starlette.routing import Route

FOLDER = Path(__file__).resolve().parents[3] / "examples" / "chorus_dashboard"
SCRIPT = (FOLDER / "dashboard.js").read_text()


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inline = ""
        self._inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside in ("script", "style"):
            self.inline += data.strip()


@pytest.fixture
def page() -> Page:
    parser = Page()
    parser.feed((FOLDER / "index.html").read_text())
    return parser


def test_page_needs_no_inline_code_and_no_other_origin(page: Page) -> None:
    assert page.inline == ""
    files = set()
    for _, attributes in page.tags:
        assert not [name for name in attributes if name == "style" or name.startswith("on")]
        files |= {attributes[name] for name in ("src", "href") if name in attributes}
    assert files == {"icon.svg", "style.css", "dashboard.js"}
    assert all((FOLDER / str(name)).is_file() for name in files)
    for name in ("style.css", "dashboard.js", "index.html"):
        assert not re.search(r"https?:|url\(|@import|innerHTML|eval\(|\.style\b", (FOLDER / name).read_text())


def test_script_uses_elements_and_endpoints_that_exist(page: Page) -> None:
    identifiers = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    used = set(re.findall(r'(?:byId|setText)\("([\w-]+)"', SCRIPT))
    assert len(used) > 10
    assert used <= identifiers
    paths = {f"/api/v1{path}" for path in re.findall(r'fetchJson\("([^"?]+)', SCRIPT)}
    routes = Api.routes(Api.__new__(Api))
    assert len(paths) == 3
    assert paths <= {route.path for route in routes if isinstance(route, Route)}


def test_page_can_be_read_without_sight(page: Page) -> None:
    tags = dict(page.tags)
    assert tags["html"]["lang"] == "en"
    labelled = [attributes["aria-labelledby"] for tag, attributes in page.tags if tag == "section"]
    identifiers = {attributes.get("id") for _, attributes in page.tags}
    assert len(labelled) == 3
    assert set(labelled) <= identifiers
    assert all(attributes.get("scope") for tag, attributes in page.tags if tag == "th")
    assert {"status", "alert"} <= {attributes.get("role") for _, attributes in page.tags}


DOCUMENT = """
const elements = {};
const make = () => ({ textContent: '', className: '', hidden: true, children: [], dateTime: '',
  append(...c) { this.children.push(...c); }, replaceChildren(...c) { this.children = c; }, setAttribute() {} });
globalThis.document = { hidden: false, getElementById: (id) => (elements[id] ??= make()), createElement: make,
  addEventListener() {}, body: { classList: { add() {}, remove() {} } } };
globalThis.setTimeout = () => {};
const answers = JSON.parse(process.argv[1]);
globalThis.fetch = async (path) => {
  if (!answers) throw new TypeError('connection refused');
  return { ok: true, json: async () => answers[path.split('?')[0]] };
};
require(process.argv[2]);
setImmediate(() => setImmediate(() => console.log(JSON.stringify({
  state: elements.state.textContent, notice: elements.notice.hidden ? '' : elements.notice.textContent,
  agents: (elements.agents?.children ?? []).map((row) => row.children[0].textContent) }))));
"""


@pytest.mark.skipif(not shutil.which("node"), reason="node is not installed; the script is only read, not run")
@pytest.mark.parametrize("up", [True, False])
def test_script_shows_figures_or_says_that_the_api_is_down(up: bool) -> None:
    agents = [
        {"agent": name, "score": score, "trusted": score > 30, "conflicts": 1, "interactions": 2}
        for name, score in (("ann", 90), ("bob", 20))
    ]
    settings = {"trust_threshold": 30, "risk_threshold": 0.7}
    answers = {
        "/api/v1/system/status": {"status": "healthy", "environment": "lab", "agents": 2, "settings": settings},
        "/api/v1/agents": {"agents": agents},
        "/api/v1/predictions": {"latest": {"risks": [{"agent": "bob", "risk": 0.9}]}, "recent": []},
    }
    command = ["node", "-e", DOCUMENT, json.dumps(answers if up else None), str(FOLDER / "dashboard.js")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    if up:
        assert shown == {"state": "Healthy", "notice": "", "agents": ["bob", "ann"]}
    else:
        assert shown["state"] == "API unreachable"
        assert "cannot be reached (connection refused)" in shown["notice"]
