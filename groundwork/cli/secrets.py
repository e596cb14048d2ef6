"""``groundwork secrets``: the encrypted values of an environment, set and rotated without ever being shown."""

from __future__ import annotations

import difflib
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from groundwork.authority.store import FOLDER, AuthorityStore
from groundwork.problems import Problem, ProblemError
from groundwork.secrets.declaration import SecretDeclaration, name_declarations
from groundwork.secrets.generation import generate_value
from groundwork.secrets.store import SecretStore
from groundwork.secrets.strength import check_strength
from groundwork.secrets.value import SecretValue

app = typer.Typer(help="Generate, set, list and rotate the secrets of an environment.", no_args_is_help=True)

Environment = Annotated[str, typer.Argument(metavar="ENV", help="Environment: a file in inventories/.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def _open(environment: str) -> tuple[SecretStore, dict[str, SecretDeclaration]]:
    # Reading an environment takes pyinfra and every manifest; --help does not need them.
    from groundwork.site import load_site

    site = load_site(environment)
    declared = name_declarations(site.topology.secret_declarations)
    return site.secrets, {one.name: one for one in declared}


@contextmanager
def _reporting(as_json: bool) -> Iterator[Callable[[dict[str, Any], str], None]]:
    """Print a result on standard output; problems go to standard error and end the command with 1."""

    def report(result: dict[str, Any], text: str) -> None:
        typer.echo(json.dumps(result, indent=2) if as_json else text)

    try:
        yield report
    except ProblemError as error:
        if as_json:
            typer.echo(json.dumps({"problems": [problem.as_dict() for problem in error.problems]}, indent=2))
        else:
            typer.echo(str(error), err=True)
        raise typer.Exit(1) from None


def _find(declared: dict[str, SecretDeclaration], name: str) -> SecretDeclaration:
    if name in declared:
        return declared[name]
    nearest = difflib.get_close_matches(name, declared, 1)
    hint = f"; did you mean {nearest[0]}?" if nearest else ""
    allowed = ", ".join(sorted(declared)) or "none is declared"
    raise ProblemError([Problem(f"is not declared{hint}", key=f"secrets.{name}", allowed=allowed)])


@app.command("init")
def initialise(environment: Environment, as_json: AsJson = False) -> None:
    """Make key, folder and certificate authority where they are missing; generate every secret without a value."""
    with _reporting(as_json) as report:
        store, declared = _open(environment)
        public = store.initialise()
        authority = AuthorityStore(store.folder / FOLDER, store, environment)
        made = authority.initialise()
        ensured = store.ensure(declared.values())
        weak = [p for p in ensured.problems if p.key.removeprefix("secrets.") not in ensured.absent]
        if weak:
            raise ProblemError(weak)
        lines = [f"key      {store.key_file} (keep a copy of it: nothing else opens the secrets)"]
        lines += [f"folder   {store.folder}", f"made     {len(ensured.created)} of {len(declared)} secrets"]
        lines += [f"missing  {name}: groundwork secrets set {environment} {name}" for name in ensured.absent]
        lines.append(f"certificate authority {'made' if made else 'is there'}: {authority.folder}")
        result = {
            "key_file": str(store.key_file),
            "folder": str(store.folder),
            "recipient": public,
            "authority": str(authority.folder),
        }
        report(result | {"created": ensured.created, "missing": ensured.absent}, "\n".join(lines))


@app.command("list")
def list_secrets(environment: Environment, as_json: AsJson = False) -> None:
    """List names, kinds and ages; never a value."""
    with _reporting(as_json) as report:
        store, declared = _open(environment)
        stored = store.read_all() if store.names() else {}
        rows: list[dict[str, Any]] = []
        for name in sorted({*declared, *stored}):
            secret = stored.get(name)
            rows.append(
                {
                    "name": name,
                    "kind": declared[name].kind if name in declared else "undeclared",
                    "state": "set" if secret else "missing",
                    "created": secret.created.isoformat() if secret else None,
                    "days": (datetime.now(UTC) - secret.created).days if secret else None,
                    "previous": store.has_previous(name),
                    "description": declared[name].description if name in declared else "",
                }
            )
        if as_json:
            report({"secrets": rows}, "")
            return
        table = Table("name", "kind", "state", "age", "previous", "what for", box=None)
        for row in rows:
            age = "" if row["days"] is None else f"{row['days']} d"
            kept = "kept" if row["previous"] else ""
            table.add_row(row["name"], row["kind"], row["state"], age, kept, row["description"])
        Console(soft_wrap=True).print(table)


@app.command("set")
def set_secret(
    environment: Environment,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of a declared secret.")],
    as_json: AsJson = False,
) -> None:
    """Set one secret, from standard input or a hidden prompt; a value is never taken as an argument."""
    with _reporting(as_json) as report:
        store, declared = _open(environment)
        declaration = _find(declared, name)
        if sys.stdin.isatty():
            text = str(typer.prompt(f"Value of {name}", hide_input=True, confirmation_prompt=True))
        else:
            # A pipe such as `echo value |` ends in a line end that is not part of the value.
            text = sys.stdin.read().removesuffix("\n")
        value = SecretValue(text)
        if weak := check_strength(declaration, value):
            raise ProblemError(weak)
        store.write(name, value)
        told = f"{name} is set; `groundwork apply {environment}` brings it to the hosts"
        report({"set": [name], "previous": store.has_previous(name)}, told)


@app.command("rotate")
def rotate_secrets(
    environment: Environment,
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Secrets to rotate.")] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Every generated secret but keys, which lock data.")
    ] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Put the previous values back instead.")] = False,
    as_json: AsJson = False,
) -> None:
    """Replace values by fresh ones; the previous values stay, encrypted, until the next rotation."""
    with _reporting(as_json) as report:
        if bool(names) == everything:
            raise ProblemError([Problem("name the secrets, or say --all", key="secrets rotate")])
        store, declared = _open(environment)
        if everything:
            # What a key encrypted (backups) stays locked without that key: it has to be named.
            chosen = [one for one in declared.values() if one.is_generated and one.kind != "key"]
            chosen = [one for one in chosen if store.has_previous(one.name)] if undo else chosen
        else:
            chosen = [_find(declared, name) for name in dict.fromkeys(names or [])]
        allowed = "groundwork secrets set ENV NAME"
        provided = [
            Problem("is provided by you and cannot be generated", key=f"secrets.{one.name}", allowed=allowed)
            for one in chosen
            if not (one.is_generated or undo)
        ]
        if provided:
            raise ProblemError(provided)
        for declaration in chosen:
            if undo:
                store.restore_previous(declaration.name)
            else:
                store.write(declaration.name, generate_value(declaration))
        done = [one.name for one in chosen]
        verb = "put back" if undo else "rotated"
        told = f"{len(done)} {verb}: {', '.join(done)}; `groundwork apply {environment}` brings them to the hosts"
        report({verb.replace(" ", "_"): done}, told)
