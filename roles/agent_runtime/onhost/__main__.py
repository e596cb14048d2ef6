"""``python3 -m <package> PLATFORM status|install|stage|switch|image-...``: what the controller asks of a host."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from .generations import CheckError, find_damage, list_generations, stage_generation
from .images import build_base, build_folder, build_release, pull_image
from .layout import Layout, read_link
from .releases import InstallError, install_release, list_releases
from .switching import Switch
from .units import Systemd


def _say(text: str) -> None:
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # Whoever asked is gone; the switch is carried through all the same.
        sys.stdout = Path("/dev/null").open("w")  # noqa: SIM115


def report_status(layout: Layout) -> dict[str, object]:
    """What is installed and staged, what is in force, and what is not as it should be."""
    live, proven = read_link(layout.live), read_link(layout.proven)
    lags = Switch(layout, Systemd(), _say).list_lags(live) if live else []
    generations = {name: find_damage(layout, name) for name in sorted(list_generations(layout))}
    return {
        "releases": list_releases(layout),
        "generations": generations,
        "live": live,
        "proven": proven,
        "lags": lags,
    }


def _handle_images(layout: Layout, given: argparse.Namespace) -> None:
    match given.action:
        case "image-base":
            build_base(layout.root, given.tag, given.packages)
        case "image-release":
            build_release(layout, given.tag, given.base, given.release)
        case "image-build":
            build_folder(layout, given.tag, given.archive)
        case "image-pull":
            pull_image(given.image, given.key, given.tag)


def main(arguments: list[str] | None = None) -> int:
    """Do what is asked; 0 when it is done, 1 with the reason when it could not be."""
    parser = argparse.ArgumentParser(prog="agent_runtime", description=__doc__)
    parser.add_argument("platform")
    parser.add_argument("--root", type=Path, default=Path("/"))
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("status")
    install = actions.add_parser("install")
    install.add_argument("release")
    install.add_argument("archive", type=Path)
    install.add_argument("digest")
    actions.add_parser("stage").add_argument("generation")
    actions.add_parser("switch").add_argument("generation")
    base = actions.add_parser("image-base")
    base.add_argument("tag")
    base.add_argument("packages", nargs="+")
    release = actions.add_parser("image-release")
    for name in ("tag", "base", "release"):
        release.add_argument(name)
    build = actions.add_parser("image-build")
    build.add_argument("tag")
    build.add_argument("archive", type=Path)
    pull = actions.add_parser("image-pull")
    for name in ("image", "key", "tag"):
        pull.add_argument(name)
    given = parser.parse_args(arguments)
    layout = Layout(given.platform, given.root)
    try:
        if given.action == "status":
            print(json.dumps(report_status(layout)))
            return 0
        with layout.locked():
            if given.action == "install":
                install_release(layout, given.release, given.archive, given.digest)
            elif given.action.startswith("image-"):
                _handle_images(layout, given)
            elif given.action == "stage":
                stage_generation(layout, given.generation, json.load(sys.stdin))
            else:
                return 0 if Switch(layout, Systemd(), _say).switch(given.generation) else 1
    except (InstallError, CheckError, TimeoutError) as error:
        print(error, file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(f"{' '.join(error.cmd)}: {(error.stderr or '').strip()}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
