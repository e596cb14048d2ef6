"""Builds the base image of lab hosts: once for each recipe, from a registry or with debootstrap."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import docker
from docker.errors import DockerException, ImageNotFound, NotFound
from docker.models.containers import Container

from groundwork.lab.archives import FileEntry, pack_files
from groundwork.lab.errors import lab_error
from groundwork.lab.labels import ROOT_LABEL, root_label
from groundwork.lab.privilege import install_packages, root_prefix, run_as_root
from groundwork.lab.recipe import INIT_PATH, INIT_SCRIPT, PACKAGES, PROVISION_SCRIPT, REPOSITORY, Recipe
from groundwork.lab.state import locked

ROOTFS_REPOSITORY = "groundwork-lab-rootfs"
BUILD_LABEL = "groundwork.build"
ROOTFS_LABEL = "groundwork.rootfs"
# A registry that has not told us an image's digest by then is not quicker than debootstrap.
REGISTRY_SECONDS = 4
DEBOOTSTRAP_SECONDS = 1200
PROVISION_SECONDS = 1200


def ensure_image(client: docker.DockerClient, recipe: Recipe, root: Path, say: Callable[[str], None]) -> bool:
    """Build the recipe's image unless the engine has it; returns whether it was built.

    ``root`` is the checkout (scratch files go to its ``.cache/lab``); ``say`` gets a line for each step. A build
    that was killed leaves nothing that the next one does not clear.
    """
    if _has_image(client, recipe.tag):
        return False
    scratch = root / ".cache" / "lab"
    scratch.mkdir(parents=True, exist_ok=True)
    with locked(scratch / f"{recipe.release}.lock"):
        if _has_image(client, recipe.tag):
            return False
        _clear_leftovers(client, root, scratch, recipe.release)
        base = _pull(client, recipe, say) or _bootstrap(client, recipe, scratch, say)
        say("installing the base packages")
        _provision(client, recipe, base, root)
    return True


def _has_image(client: docker.DockerClient, tag: str) -> bool:
    try:
        client.images.get(tag)
    except ImageNotFound:
        return False
    return True


def _clear_leftovers(client: docker.DockerClient, root: Path, scratch: Path, release: str) -> None:
    labels = [f"{BUILD_LABEL}={release}", f"{ROOT_LABEL}={root_label(root)}"]
    for container in client.containers.list(all=True, filters={"label": labels}):
        container.remove(force=True, v=True)
    client.images.prune(filters={"dangling": True, "label": f"{ROOTFS_LABEL}={release}"})
    for tree in scratch.glob(f"{release}-*"):
        run_as_root(["rm", "-rf", "--one-file-system", str(tree)], "removing an unfinished image")


def _pull(client: docker.DockerClient, recipe: Recipe, say: Callable[[str], None]) -> str:
    """Pull Debian's own image where a registry answers at once; an empty string where none does."""
    name = f"debian:{recipe.release}-slim"
    try:
        quick = docker.DockerClient(base_url=client.api.base_url, timeout=REGISTRY_SECONDS)
        if client.api.base_url.startswith("http+docker"):
            quick = docker.DockerClient(base_url=_socket_of(client), timeout=REGISTRY_SECONDS)
        quick.images.get_registry_data(name)
        say(f"pulling {name}")
        client.images.pull(name)
    # A timeout surfaces as an error of the HTTP library, which is an OSError.
    except (DockerException, OSError, ValueError):
        return ""
    return name


def _socket_of(client: docker.DockerClient) -> str:
    adapter = client.api.get_adapter(client.api.base_url)
    return f"unix://{getattr(adapter, 'socket_path', '/var/run/docker.sock')}"


def _bootstrap(client: docker.DockerClient, recipe: Recipe, scratch: Path, say: Callable[[str], None]) -> str:
    """Make a minimal Debian with debootstrap and import it; returns the imported image's name."""
    if shutil.which("debootstrap", path="/usr/sbin:/usr/bin:/sbin:/bin") is None:
        say("installing debootstrap")
        install_packages(["debootstrap", "debian-archive-keyring"])
    say(f"bootstrapping Debian {recipe.release}")
    tree = Path(tempfile.mkdtemp(prefix=f"{recipe.release}-", dir=scratch))
    try:
        # In namespaces of its own and tied to our life: a killed build leaves no mount and no process behind.
        command = ["env", "PATH=/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"]
        command += ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child"]
        command += ["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", recipe.release]
        command += [str(tree / "root"), *([recipe.mirror] if recipe.mirror else [])]
        run_as_root(command, f"debootstrap of {recipe.release}", timeout=DEBOOTSTRAP_SECONDS)
        say("importing it as an image")
        _import_tree(client, tree / "root", recipe.release)
    finally:
        run_as_root(["rm", "-rf", "--one-file-system", str(tree)], "removing the bootstrapped tree")
    return f"{ROOTFS_REPOSITORY}:{recipe.release}"


def _import_tree(client: docker.DockerClient, tree: Path, tag: str) -> None:
    command = [*root_prefix(), "tar", "-C", str(tree), "--one-file-system", "--numeric-owner"]
    command += ["--exclude=./var/cache/apt/archives/*.deb", "--exclude=./var/lib/apt/lists/*_*", "-c", "."]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as tar:
        changes = [f'LABEL {ROOTFS_LABEL}="{tag}"']
        client.api.import_image_from_stream(tar.stdout, repository=ROOTFS_REPOSITORY, tag=tag, changes=changes)
    if tar.returncode != 0:
        raise lab_error("the bootstrapped tree could not be packed")


def _provision(client: docker.DockerClient, recipe: Recipe, base: str, root: Path) -> None:
    """Run the provisioning script in a container of ``base`` and keep the result as the recipe's image."""
    labels = {BUILD_LABEL: recipe.release, ROOT_LABEL: root_label(root)}
    command = ["/bin/sh", "/root/lab/provision"]
    container: Container = client.containers.create(base, command, labels=labels)
    try:
        container.put_archive("/", pack_files(_recipe_files(recipe)))
        container.start()
        if container.wait(timeout=PROVISION_SECONDS)["StatusCode"] != 0:
            tail = container.logs(tail=5).decode(errors="replace").strip().replace("\n", " / ")
            raise lab_error(f"the base packages could not be installed: {tail}")
        name, _, tag = recipe.tag.partition(":")
        changes = [f'CMD ["{INIT_PATH}"]', f'LABEL {BUILD_LABEL}="" {ROOT_LABEL}=""']
        container.commit(repository=name, tag=tag, changes=changes)
    finally:
        container.remove(force=True, v=True)
    if base.startswith(ROOTFS_REPOSITORY):
        client.images.remove(base)
        # What a killed build had imported lost its name to the import of this one.
        client.images.prune(filters={"dangling": True, "label": f"{ROOTFS_LABEL}={recipe.release}"})


def _recipe_files(recipe: Recipe) -> list[FileEntry]:
    files = [
        FileEntry("/root/lab/provision", PROVISION_SCRIPT, 0o755),
        FileEntry("/root/lab/debian.sources", recipe.sources),
        FileEntry(INIT_PATH, INIT_SCRIPT, 0o755),
    ]
    if recipe.apt_settings:
        files.append(FileEntry("/etc/apt/apt.conf.d/90machine", recipe.apt_settings))
    folder = "/usr/local/share/ca-certificates"
    return files + [FileEntry(f"{folder}/{name}", text) for name, text in recipe.certificates]


def remove_images(client: docker.DockerClient) -> list[str]:
    """Remove every base image from the engine (images still used by a host stay); returns the removed names."""
    removed = []
    client.images.prune(filters={"dangling": True, "label": ROOTFS_LABEL})
    for image in client.images.list():
        for tag in image.tags:
            if tag.startswith((f"{REPOSITORY}:", f"{ROOTFS_REPOSITORY}:")):
                try:
                    client.images.remove(tag)
                except NotFound:
                    continue
                except DockerException:
                    # Another checkout's lab runs on it.
                    continue
                removed.append(tag)
    return removed
