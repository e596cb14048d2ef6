"""The names that parts of a manifest can refer to."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator

from groundwork.manifest.platform import Platform
from groundwork.problems import Problem


class Names:
    """What can be referred to, by kind."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.services = set(platform.services)
        self.groups = set(platform.groups)
        self.agents = set(platform.agents())
        self.categories = {group.category for group in platform.groups.values() if group.category}
        self.secrets = set(platform.secrets)
        self.needable = self.services | self.groups | self.agents

    def clashes(self) -> Iterator[Problem]:
        """Services, groups and agents share one name space, so that a need can name any of them."""
        seen: dict[str, str] = {name: f"services.{name}" for name in self.services}
        normal: dict[str, str] = {}
        places = [(group, f"groups.{group}") for group in self.platform.groups]
        places += [
            (agent, f"groups.{group}.agents.{agent}")
            for group, declared in self.platform.groups.items()
            for agent in declared.agents
        ]
        for name, place in places:
            # A group may share its name with its only agent: units and targets differ in their suffix.
            other = seen.setdefault(name, place)
            if other != place and not (other == f"groups.{name}" and place.startswith(f"{other}.agents.")):
                yield Problem(f"the name is taken by {other}", key=place, given=name, allowed="a name of its own")
            flat = normal.setdefault(name.replace("_", "-"), name)
            if flat != name:
                yield Problem(f"differs from {flat!r} only in - and _", key=place, given=name)


def unknown_name(kind: str, key: str, given: str, known: Iterable[str]) -> Problem:
    """Return the Problem of a reference to a name that is not declared, with the nearest one that is."""
    allowed = sorted(known)
    nearest = difflib.get_close_matches(given, allowed, 1)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
    # What is written where a secret's name belongs may be the secret itself.
    shown = "(not shown)" if kind == "secret" else given
    return Problem(f"no such {kind}{hint}", key=key, given=shown, allowed=", ".join(allowed[:20]) or "none is declared")
