"""`python -m agent_runtime.chorus.validate --env-file FILE`: check a configuration file before it is used."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from agent_runtime.chorus.settings import ChorusSettings
from agent_runtime.configuration import ConfigurationProblem, load_settings, parse_environment_file
from agent_runtime.options import build_schema

SCHEMA_FILE = Path(__file__).with_name("configuration.schema.json")
LARGEST_BYTES = 1_000_000


def find_problems(text: str, provided: frozenset[str] = frozenset()) -> list[ConfigurationProblem]:
    """Return what is wrong with the text of an environment file, in the order of its lines."""
    given, broken = parse_environment_file(text)
    skipped = provided | {problem.key for problem in broken}
    _, problems = load_settings(ChorusSettings, given, read_files=False, known_only=True, provided=skipped)
    return sorted(broken + problems, key=lambda problem: (problem.line == 0, problem.line, problem.key))


def render_schema() -> str:
    """Return the JSON Schema of the configuration as the text of its file."""
    schema: dict[str, Any] = build_schema(ChorusSettings, "Configuration of chorus")
    return json.dumps(schema, indent=2) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Check the file, print one line per problem, and return 0 if it is good and 1 if not."""
    parser = argparse.ArgumentParser(prog="python -m agent_runtime.chorus.validate", description=__doc__)
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--env-file", type=Path, metavar="FILE", help="the environment file to check")
    action.add_argument("--schema", action="store_true", help="print the JSON Schema instead")
    parser.add_argument(
        "--provided",
        action="append",
        default=[],
        metavar="KEY",
        help="a key that the service manager sets, so that it may be absent from the file (repeat as needed)",
    )
    parser.add_argument("--json", action="store_true", help="print the problems as JSON")
    options = parser.parse_args(arguments)
    if options.schema:
        sys.stdout.write(render_schema())
        return 0
    try:
        with options.env_file.open("rb") as stream:
            content = stream.read(LARGEST_BYTES + 1)
        if len(content) > LARGEST_BYTES:
            raise ValueError(f"larger than {LARGEST_BYTES} bytes")
        problems = find_problems(content.decode("utf-8"), frozenset(options.provided))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        problems = [ConfigurationProblem(0, "(file)", str(reason), "a readable UTF-8 text file")]
    if options.json:
        report = {
            "file": str(options.env_file),
            "valid": not problems,
            "problems": [asdict(p) for p in problems],
        }
        print(json.dumps(report, indent=2))
    else:
        for problem in problems:
            print(problem.show(str(options.env_file)))
        if not problems:
            print(f"{options.env_file}: valid", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
