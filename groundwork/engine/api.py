"""What other parts of Groundwork call: plan or apply an environment by its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from groundwork.engine.events import Event
from groundwork.engine.request import RunRequest, Timeouts
from groundwork.engine.results import Mode, RunResult
from groundwork.engine.runner import run

SITE = Path("deploys/site.py")


def plan(
    environment: str,
    *,
    limit: Sequence[str] = (),
    deploys: Sequence[Path] = (SITE,),
    root: Path | None = None,
    timeouts: Timeouts | None = None,
    snapshot: bool = True,
    verbose: bool = False,
    on_event: Callable[[Event], None] | None = None,
) -> RunResult:
    """Say what ``apply`` would change, and change nothing.

    Args:
        environment: name of an inventory, ``lab`` for ``inventories/lab.py``.
        limit: names of hosts or groups (shell patterns allowed); empty means every host.
        deploys: deploy files, relative to ``root``.
        root: directory of the checkout; by default found from the current directory upwards.
        timeouts: how long one host may keep the run waiting.
        snapshot: ask the facts of earlier runs ahead of time, in one go per host.
        verbose: pass on everything pyinfra logs.
        on_event: called with every event while the run goes on.

    Raises:
        ProblemError: the inventory or the manifest is wrong; nothing was contacted.
        EngineError: the worker process died.
    """
    request = make_request(Mode.PLAN, environment, limit, deploys, root, timeouts, verbose, snapshot)
    return run(request, on_event)


def apply(
    environment: str,
    *,
    limit: Sequence[str] = (),
    deploys: Sequence[Path] = (SITE,),
    root: Path | None = None,
    timeouts: Timeouts | None = None,
    snapshot: bool = True,
    verbose: bool = False,
    on_event: Callable[[Event], None] | None = None,
    data: Mapping[str, str | int | float | bool | None] | None = None,
) -> RunResult:
    """Bring the hosts into the declared state, in one pass; baselines of ``groundwork drift`` follow.

    Arguments and errors are those of ``plan``; ``data`` overrides the inventory's host data. A host that fails is
    in the result; it raises nothing.
    """
    from groundwork.drift.gathering import following
    from groundwork.site import load_site

    request = make_request(Mode.APPLY, environment, limit, deploys, root, timeouts, verbose, snapshot)
    request = request.model_copy(update={"data": dict(data or {})})
    with following(load_site(request.environment, request.root), limit):
        return run(request, on_event)


def make_request(
    mode: Mode,
    environment: str,
    limit: Sequence[str] = (),
    deploys: Sequence[Path] = (SITE,),
    root: Path | None = None,
    timeouts: Timeouts | None = None,
    verbose: bool = False,
    snapshot: bool = True,
) -> RunRequest:
    """Validate an environment and describe a run of it; contacts nothing.

    Raises:
        ProblemError: the environment cannot be used.
    """
    from groundwork.site import find_root, load_site

    folder = (root or find_root()).resolve()
    name = name_environment(environment)
    load_site(name, folder)
    return RunRequest(
        mode=mode,
        root=folder,
        inventory=Path("inventories") / f"{name}.py",
        deploys=tuple(deploys),
        environment=name,
        limit=tuple(limit),
        timeouts=timeouts or Timeouts(),
        verbose=verbose,
        snapshot=snapshot,
    )


def name_environment(given: str) -> str:
    """The environment's name, from the name itself or from the path of its inventory file."""
    return given.removesuffix(".py").rstrip("/").rsplit("/", 1)[-1] if given.endswith(".py") else given
