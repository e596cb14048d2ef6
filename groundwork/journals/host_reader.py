"""Reads journals on a host with journalctl, and prints the lines that were asked for as JSON.

It is sent to a host as the text of ``python3 -c`` and gets its task over standard input; needs Python alone. It reads
and changes nothing.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import Any

FIELDS = ("MESSAGE", "PRIORITY", "SYSLOG_IDENTIFIER", "_COMM", "_PID", "_SYSTEMD_UNIT", "UNIT", "_BOOT_ID", "TRACE_ID")


def find_sources(source: dict[str, Any]) -> list[str]:
    """What journalctl is to read: the host's own journal, or the files of one host in a store; raises LookupError."""
    if not source.get("folder"):
        return []
    names = re.compile(source["names"])
    try:
        found = sorted(name for name in os.listdir(source["folder"]) if names.fullmatch(name))  # noqa: PTH208
    except FileNotFoundError:
        found = []
    if not found:
        raise LookupError("nothing was ever received")
    return [f"--file={source['folder']}/{name}" for name in found]


def read_lines(command: list[str]) -> list[dict[str, Any]]:
    """Run journalctl and return its lines; raises RuntimeError with its reason."""
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    # It ends with 1 where nothing fits, without a word.
    if done.returncode and done.stderr.strip():
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def read_source(source: dict[str, Any], task: dict[str, Any]) -> dict[str, Any]:
    """Lines of one host for each query, the time of its latest, and why there is nothing where there is nothing."""
    answer: dict[str, Any] = {"lines": [], "last": 0, "error": ""}
    try:
        files = find_sources(source)
        base = ["journalctl", "--no-pager", "--quiet", "--utc", "-o", "json", f"--output-fields={','.join(FIELDS)}"]
        newest = read_lines([*base, *files, "--lines=1"])
        answer["last"] = max((int(line["__REALTIME_TIMESTAMP"]) for line in newest), default=0)
        for more in task["queries"]:
            found = read_lines([*base, "--all", "--reverse", f"--lines={task['lines']}", *files, *more])
            answer["lines"].append(found[::-1])
    except (LookupError, OSError, RuntimeError, ValueError) as error:
        answer["error"] = str(error)
    return answer


def main() -> None:
    """Read ``{"sources", "queries", "lines"}`` from standard input and print the answers by source."""
    task = json.load(sys.stdin)
    json.dump({name: read_source(source, task) for name, source in task["sources"].items()}, sys.stdout)


if __name__ == "__main__":
    main()
