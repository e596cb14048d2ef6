"""Reading settings from the environment or from an environment file, with every problem at once."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from agent_runtime.options import Definition, list_definitions, parse_value
from agent_runtime.secret import MASK, SecretError, read_secret

SettingsType = TypeVar("SettingsType")
# Environments where a secret written into the configuration itself is refused.
STRICT_ENVIRONMENTS = ("staging", "production")
MISSING = "(missing)"


@dataclass(frozen=True)
class Given:
    """A value and the line it stands on (0 when it comes from the environment)."""

    text: str
    line: int = 0


@dataclass(frozen=True)
class ConfigurationProblem:
    """One thing that is wrong: where, which key, what was given and what is allowed."""

    line: int
    key: str
    given: str
    allowed: str

    def show(self, source: str) -> str:
        """Return the one-line message."""
        place = f"{source}:{self.line}" if self.line else source
        return f"{place}: {self.key}: given {self.given}; allowed: {self.allowed}"


class ConfigurationError(Exception):
    """The configuration cannot be used."""

    def __init__(self, problems: list[ConfigurationProblem]) -> None:
        super().__init__("; ".join(problem.show("environment") for problem in problems))
        self.problems = problems


def parse_environment_file(text: str) -> tuple[dict[str, Given], list[ConfigurationProblem]]:
    """Read the lines of a systemd EnvironmentFile (systemd.exec(5)): comments, quotes, no variable expansion."""
    values: dict[str, Given] = {}
    problems = []
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip()
        if not line or line[0] in "#;":
            continue
        key, separator, value = line.partition("=")
        key = key.strip()
        if not separator or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key, re.ASCII):
            problems.append(ConfigurationProblem(number, "(line)", "no setting", "KEY=value, a comment or nothing"))
            continue
        value = value.strip()
        if value[:1] in ("'", '"'):
            if len(value) < 2 or value[-1] != value[0]:
                problems.append(ConfigurationProblem(number, key, "an open quote", "a value with its closing quote"))
                continue
            value = value[1:-1]
        elif value.endswith("\\"):
            problems.append(ConfigurationProblem(number, key, "a continued line", "the value on one line"))
            continue
        if key in values:
            first = values[key].line
            problems.append(ConfigurationProblem(number, key, "a second time", f"once (it is on line {first} too)"))
            continue
        values[key] = Given(value, number)
    return values, problems


class _Loader:
    """Turns given values into typed ones and collects what is wrong."""

    def __init__(self, given: Mapping[str, Given], read_files: bool, provided: frozenset[str]) -> None:
        self._given = given
        self._read_files = read_files
        self._provided = provided
        self.problems: list[ConfigurationProblem] = []
        self.unread: set[str] = set()
        strict = given.get("ENVIRONMENT")
        self._strict = strict is not None and strict.text in STRICT_ENVIRONMENTS

    def is_given(self, definition: Definition) -> bool:
        names = {definition.key} | ({f"{definition.key}_FILE"} if definition.kind == "secret" else set())
        return bool(names & (self._given.keys() | self._provided))

    def load(self, definition: Definition) -> Any:
        key = definition.key
        if definition.kind == "secret":
            return self._load_secret(definition)
        if key not in self._given:
            if definition.required and key not in self._provided:
                self._refuse(key, MISSING, "it is required")
            return definition.default
        try:
            return parse_value(definition, self._given[key].text)
        except ValueError as error:
            self._refuse(key, self._given[key].text or "(empty)", str(error))
            return definition.default

    def _load_secret(self, definition: Definition) -> Any:
        key, file_key = definition.key, f"{definition.key}_FILE"
        if key in self._given and file_key in self._given:
            self._refuse(file_key, f"both {key} and {file_key}", "one of the two")
        elif file_key in self._given:
            return self._load_secret_file(definition, file_key)
        elif key in self._given:
            if self._strict:
                self._refuse(key, MASK, f"a file named by {file_key} (staging and production read secrets from files)")
                return None
            try:
                return parse_value(definition, self._given[key].text)
            except ValueError as error:
                self._refuse(key, MASK if self._given[key].text else "(empty)", str(error))
        elif definition.required and not {key, file_key} & self._provided:
            self._refuse(key, MISSING, f"it is required, as {key} or {file_key}")
        return None

    def _load_secret_file(self, definition: Definition, file_key: str) -> Any:
        path = self._given[file_key].text
        if not path.startswith(("/", "%d/")):
            self._refuse(file_key, path or "(empty)", "an absolute path, or %d/ and the name of a credential")
        elif self._read_files:
            try:
                return parse_value(definition, read_secret(Path(path)).reveal())
            except SecretError as error:
                self._refuse(file_key, str(error), "a readable file with the secret")
            except ValueError as error:
                self._refuse(file_key, f"a file that holds {MASK}", str(error))
        return None

    def _refuse(self, key: str, given: str, allowed: str) -> None:
        line = self._given[key].line if key in self._given else 0
        self.problems.append(ConfigurationProblem(line, key, given, allowed))


def load_settings(
    settings: type[SettingsType],
    given: Mapping[str, Given],
    *,
    read_files: bool,
    known_only: bool,
    provided: frozenset[str] = frozenset(),
) -> tuple[SettingsType | None, list[ConfigurationProblem]]:
    """Check values against a settings class.

    Args:
        settings: a dataclass whose fields were made with `option`.
        given: the values by key.
        read_files: read the files that `*_FILE` keys name (at run time), or only look at their paths.
        known_only: report keys that the settings class does not have.
        provided: keys that reach the process by another way and may be absent here.

    Returns:
        The settings, or None if there are problems or secrets were not read; and the problems by line.
    """
    definitions = list_definitions(settings)
    loader = _Loader(given, read_files, provided)
    values = {definition.field: loader.load(definition) for definition in definitions}
    problems = loader.problems
    problems += _find_incomplete(definitions, loader)
    failed = {problem.key for problem in problems}
    check = getattr(settings, "find_contradictions", None)
    if check is not None:
        for keys, allowed in check(values):
            if not failed & set(keys):
                shown = ", ".join(f"{key}={values[key.lower()]:g}" for key in keys)
                line = max((given[key].line for key in keys if key in given), default=0)
                problems.append(ConfigurationProblem(line, keys[0], shown, allowed))
    if known_only:
        problems += _find_unknown(definitions, given)
    problems.sort(key=lambda problem: (problem.line == 0, problem.line, problem.key))
    if problems or not read_files:
        return None, problems
    return settings(**values), problems


def _find_incomplete(definitions: list[Definition], loader: _Loader) -> list[ConfigurationProblem]:
    problems = []
    for name in sorted({d.option.together for d in definitions if d.option.together}):
        members = [d for d in definitions if d.option.together == name]
        present = [d.key for d in members if loader.is_given(d)]
        missing = [d for d in members if d.default is None and not loader.is_given(d)]
        if present:
            allowed = f"all of {name}'s settings or none ({', '.join(present)} given)"
            problems += [ConfigurationProblem(0, d.key, MISSING, allowed) for d in missing]
    return problems


def _find_unknown(definitions: list[Definition], given: Mapping[str, Given]) -> list[ConfigurationProblem]:
    known = {d.key for d in definitions} | {f"{d.key}_FILE" for d in definitions if d.kind == "secret"}
    problems = []
    for key in given.keys() - known:
        nearest = difflib.get_close_matches(key.upper(), sorted(known), n=1)
        allowed = f"a known setting; the nearest is {nearest[0]}" if nearest else "a known setting"
        problems.append(ConfigurationProblem(given[key].line, key, "an unknown setting", allowed))
    return problems


def read_settings(settings: type[SettingsType], environ: Mapping[str, str]) -> SettingsType:
    """Read settings from the process's environment, secrets from the files it names.

    Raises:
        ConfigurationError: with every problem.
    """
    given = {key: Given(value) for key, value in environ.items()}
    loaded, problems = load_settings(settings, given, read_files=True, known_only=False)
    if loaded is None:
        raise ConfigurationError(problems)
    return loaded
