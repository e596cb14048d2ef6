"""The ``groundwork`` command: puts the sub-commands together and decides the exit code."""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from groundwork.cli.output import ERROR, INTERRUPTED

# Name of each command: its module, the attribute there, and its line in the help. Modules are imported when the
# command is used, which keeps ``groundwork --help`` quick and one broken command from breaking the others.
COMMANDS: dict[str, tuple[str, str, str]] = {
    "validate": ("validate", "validate", "Check inventory and manifest; contacts no host."),
    "preflight": ("preflight", "preflight", "Check that a deploy would work; changes nothing."),
    "plan": ("plan", "plan", "List what an apply would change, with diffs."),
    "apply": ("apply", "apply", "Bring the hosts into the declared state."),
    "verify": ("verify", "verify", "Check on the live hosts that everything is as declared."),
    "drift": ("drift", "drift", "What differs on the hosts from the declaration, and from how they last were."),
    "schedule": ("schedule", "app", "Passes that run by themselves: list, run, history."),
    "backup": ("backup", "app", "Make backups now, list them, read them back."),
    "restore": ("restore", "restore", "Put data back from backups, onto the same hosts."),
    "harden": ("harden", "harden", "Check hosts against hardening controls, enforce them, or revert."),
    "scan": ("scan", "scan", "Have OpenSCAP judge hosts, or a virtual machine."),
    "schema": ("schema", "schema", "Print the JSON Schema of platform manifests."),
    "lab": ("lab", "app", "Test hosts on this machine: up, down, status, ssh, exec."),
    "secrets": ("secrets", "app", "Make, list, set and rotate an environment's secrets."),
    "gpu": ("gpu", "app", "Show cards, slots and owners: as planned, or as they are."),
    "certs": ("certs", "app", "Show, renew and revoke certificates."),
    "artifacts": ("artifacts", "app", "Fetch and check what comes from vendors."),
    "logs": ("logs", "logs", "Lines of the journals of all hosts, merged by time."),
    "report": ("report", "report", "An environment on one HTML page."),
    "slo": ("slo", "app", "Objectives: budgets left, release gate, files for other tools."),
    "test": ("test", "test", "Run the unit tests, then the lab tests."),
    "bench": ("bench", "bench", "Measure a fleet's runs beside other tools, on lab hosts."),
    "version": ("version", "version", "Print the versions of Groundwork and pyinfra."),
}


class CommandGroup(TyperGroup):
    """A group whose commands are imported when they are used."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names in the order the help shows them."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A stand-in that has only a help line; ``resolve_command`` gives the real one."""
        if cmd_name not in COMMANDS:
            return None
        return TyperCommand(name=cmd_name, help=COMMANDS[cmd_name][2], rich_markup_mode=None)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the arguments name, imported."""
        name, stand_in, rest = super().resolve_command(ctx, args)
        if stand_in is None or name is None:
            return name, stand_in, rest
        return name, load_command(name), rest


def load_command(name: str) -> Any:
    """Import one command.

    Raises:
        ImportError: its module cannot be imported.
    """
    module_name, attribute, _ = COMMANDS[name]
    target = getattr(import_module(f"groundwork.cli.{module_name}"), attribute)
    if not isinstance(target, typer.Typer):
        single = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
        single.command(name)(target)
        target = single
    command = typer.main.get_command(target)
    command.name = name
    return command


app = typer.Typer(
    cls=CommandGroup,
    name="groundwork",
    help="Declarative infrastructure for multi-agent AI platforms, on pyinfra.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback()
def _groundwork() -> None:
    pass


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code.

    1 is also the code of a wrong command line: 2 would mean "would change" or "findings".
    """
    signal.signal(signal.SIGTERM, _terminate)
    command = typer.main.get_command(app)
    try:
        code = command.main(args=arguments, prog_name="groundwork", standalone_mode=False)
    except typer.Abort:
        print("stopped", file=sys.stderr)
        return INTERRUPTED
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output is gone (``| head``); keep the interpreter from complaining about it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ERROR
    except Exception as error:
        return _report(error)
    return code if isinstance(code, int) else 0


def _report(error: Exception) -> int:
    show = getattr(error, "show", None)
    if show is not None:
        show()
    elif isinstance(error, ImportError):
        print(f"error: a part of groundwork cannot be loaded: {error}", file=sys.stderr)
    else:
        print(f"error: {type(error).__name__}: {error}", file=sys.stderr)
    if os.environ.get("GROUNDWORK_DEBUG"):
        raise error
    return ERROR


def _terminate(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
