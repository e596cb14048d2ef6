"""``groundwork lab``: hosts to rehearse on, made on this machine."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console

from groundwork.cli.lab_converge import converge_apart
from groundwork.cli.lab_tables import render_status, render_up
from groundwork.lab.handover import SiteOutcome
from groundwork.lab.lifecycle import boot_lab, read_lab, remove_lab
from groundwork.lab.phases import Phases
from groundwork.lab.plan import DEFAULT_PLATFORM, DEFAULT_RELEASE
from groundwork.lab.recipe import RELEASES
from groundwork.lab.state import DEFAULT_NAME, LabState, list_names
from groundwork.lab.terminal import capture_command, find_host, open_shell, run_command
from groundwork.problems import ProblemError

app = typer.Typer(no_args_is_help=True, help="Test hosts on this machine: bring them up, use them, remove them.")

Name = Annotated[str, typer.Option("--name", "-n", envvar="GROUNDWORK_LAB", help="Name of the lab.", show_default=True)]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]


def _progress() -> tuple[Callable[[str], None], Callable[[], None]]:
    """Return what shows a line of progress and what ends it: a spinner on a terminal, else plain lines."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        return (lambda text: print(f"lab: {text}", file=sys.stderr, flush=True)), (lambda: None)
    status = console.status("lab")
    status.start()

    def say(text: str) -> None:
        if ": " in text:
            console.print(f"  {text}", style="dim")
        else:
            status.update(text)

    return say, status.stop


def _fail(error: ProblemError, as_json: bool) -> typer.Exit:
    if as_json:
        print(json.dumps({"problems": [problem.as_dict() for problem in error.problems]}, indent=2))
    for problem in error.problems:
        print(f"error: {problem}", file=sys.stderr)
    return typer.Exit(1)


def _print_json(data: Any) -> None:
    print(json.dumps(data, indent=2))


@app.command()
def up(
    platform: Annotated[
        str | None, typer.Argument(help=f"Platform of platforms/ [default: {DEFAULT_PLATFORM}]", show_default=False)
    ] = None,
    release: Annotated[
        str | None,
        typer.Option(help=f"Debian release: {', '.join(RELEASES)} [default: {DEFAULT_RELEASE}]", show_default=False),
    ] = None,
    name: Name = DEFAULT_NAME,
    apply: Annotated[bool, typer.Option(help="Apply the platform to the hosts and verify it.")] = True,
    as_json: Json = False,
) -> None:
    """Boot a platform's hosts, apply the platform to them and verify it. A second run uses what is there."""
    say, finish = _progress()
    phases = Phases(say)
    outcome: SiteOutcome | None = None
    try:
        lab = boot_lab(name, platform, release, phases, whole_manifest=apply)
        if apply:
            finish()
            outcome = converge_apart(name, phases, plain=as_json)
    except ProblemError as error:
        finish()
        raise _fail(error, as_json) from None
    finally:
        finish()
    if as_json:
        outcome_data = asdict(outcome) if outcome else None
        _print_json({**asdict(lab), "phases": phases.seconds, "outcome": outcome_data})
    else:
        render_up(lab, phases.seconds, outcome)
    if outcome and (outcome.problems or outcome.failed):
        raise typer.Exit(1)


@app.command()
def down(
    name: Name = DEFAULT_NAME,
    every: Annotated[bool, typer.Option("--all", help="Remove every lab of this checkout.")] = False,
    purge: Annotated[bool, typer.Option(help="Remove the base images too.")] = False,
    as_json: Json = False,
) -> None:
    """Remove every trace of a lab: hosts, network, state, keys."""
    names = list_names() if every else [name]
    try:
        removals = [remove_lab(each, purge=purge) for each in names or [name]]
    except ProblemError as error:
        raise _fail(error, as_json) from None
    if as_json:
        _print_json([asdict(removal) for removal in removals])
        return
    for removal in removals:
        parts = [f"{removal.hosts} hosts", f"{removal.networks} networks"]
        parts += [f"{len(removal.images)} base images"] if removal.images else []
        parts += ["stopped the Docker daemon"] if removal.engine_stopped else []
        print(f"lab {removal.name} removed: {', '.join(parts)}")


@app.command()
def status(name: Name = DEFAULT_NAME, as_json: Json = False) -> None:
    """Show a lab's hosts. Exit 1 when one does not run."""
    try:
        spec, hosts = read_lab(name)
    except ProblemError as error:
        raise _fail(error, as_json) from None
    if as_json:
        states = {host.host.name: host.state for host in hosts}
        data = asdict(spec)
        data["hosts"] = [{**asdict(host), "state": states[host.name]} for host in spec.hosts]
        _print_json(data)
    else:
        render_status(spec, hosts)
    if any(host.state != "running" for host in hosts):
        raise typer.Exit(1)


@app.command("list")
def list_labs(as_json: Json = False) -> None:
    """List the labs of this checkout."""
    try:
        specs = [spec for spec in (LabState(name).read_spec() for name in list_names()) if spec]
    except ProblemError as error:
        raise _fail(error, as_json) from None
    if as_json:
        _print_json([asdict(spec) for spec in specs])
        return
    for spec in specs:
        hosts = ", ".join(f"{host.name} {host.address}" for host in spec.hosts)
        print(f"{spec.name}: {spec.platform} on {spec.release}: {hosts}")
    if not specs:
        print("no labs: ./gw lab up", file=sys.stderr)


@app.command()
def ssh(host: Annotated[str, typer.Argument(help="Name of the host.")], name: Name = DEFAULT_NAME) -> None:
    """Open a shell on a host, as the user debian (who has sudo)."""
    try:
        state = LabState(name)
        code = open_shell(state, find_host(state, host))
    except ProblemError as error:
        raise _fail(error, False) from None
    raise typer.Exit(code)


@app.command("exec", context_settings={"ignore_unknown_options": True})
def execute(
    host: Annotated[str, typer.Argument(help="Name of the host.")],
    command: Annotated[list[str], typer.Argument(help="Command; one word is a shell command line.")],
    name: Name = DEFAULT_NAME,
    as_json: Json = False,
) -> None:
    """Run a command on a host as root; the exit status is the command's."""
    try:
        state = LabState(name)
        target = find_host(state, host)
        if not as_json:
            raise typer.Exit(run_command(state, target, command))
        code, output, errors = capture_command(state, target, command)
    except ProblemError as error:
        raise _fail(error, as_json) from None
    _print_json({"host": host, "exit": code, "stdout": output, "stderr": errors})
    raise typer.Exit(code)


if __name__ == "__main__":
    app(prog_name="groundwork lab")
