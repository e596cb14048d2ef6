"""Builds the disk of a virtual machine: debootstrap, provisioning in a chroot, and a file system made from the tree."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from groundwork.lab.keys import KeyPair, ensure_key
from groundwork.lab.privilege import install_packages, run_as_root
from groundwork.lab.recipe import Recipe, derive_recipe
from groundwork.lab.state import locked
from groundwork.vm.recipe import DISK_BYTES, PACKAGES, list_files, name_image

PATH = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
BUILD_SECONDS = 1800
PROGRAMS = {"qemu-system-x86_64": "qemu-system-x86", "debootstrap": "debootstrap", "mkfs.ext4": "e2fsprogs"}


@dataclass(frozen=True)
class VmImage:
    """A built image: its folder holds the disk, the kernel, the initial ram disk and the keys."""

    folder: Path
    release: str

    @property
    def disk(self) -> Path:
        """The raw disk with one ext4 file system; never started from itself."""
        return self.folder / "disk.img"

    @property
    def kernel(self) -> Path:
        """The kernel that the disk's packages brought."""
        return self.folder / "vmlinuz"

    @property
    def ramdisk(self) -> Path:
        """Its initial ram disk."""
        return self.folder / "initrd.img"

    @property
    def key_file(self) -> Path:
        """The private SSH key that the account ``debian`` accepts."""
        return self.folder / "id_ed25519"

    @property
    def host_key(self) -> KeyPair:
        """The SSH key by which the machine is known."""
        return ensure_key(self.folder / "ssh_host_ed25519_key", "groundwork-vm")


def ensure_image(release: str, root: Path, say: Callable[[str], None]) -> VmImage:
    """Build the image for a release unless this checkout has it, below ``.cache/vm``.

    ``say`` gets a line for each step. Raises ProblemError when a step fails; nothing half-built is used.
    """
    recipe = derive_recipe(release)
    image = VmImage(root / ".cache" / "vm" / name_image(recipe), release)
    image.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with locked(image.folder.with_suffix(".lock")):
        if not image.disk.exists():
            _build(recipe, image, say)
    return image


def _build(recipe: Recipe, image: VmImage, say: Callable[[str], None]) -> None:
    missing = [package for program, package in PROGRAMS.items() if shutil.which(program, path=PATH) is None]
    if missing:
        say(f"installing {', '.join(missing)}")
        install_packages([*missing, "debian-archive-keyring"])
    for tree in image.folder.glob("tree-*"):
        run_as_root(["rm", "-rf", "--one-file-system", str(tree)], "removing an unfinished image")
    work = Path(tempfile.mkdtemp(prefix="tree-", dir=image.folder))
    tree = work / "root"
    try:
        say(f"bootstrapping Debian {recipe.release} with a kernel")
        mirror = [recipe.mirror] if recipe.mirror else []
        bootstrap = ["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", recipe.release]
        _run([*bootstrap, str(tree), *mirror], f"debootstrap of {recipe.release}")
        say("provisioning it")
        _place_files(recipe, image, work, tree)
        _run(["chroot", str(tree), "/root/vm/provision"], "provisioning the disk")
        say("making the disk")
        _make_disk(image, work, tree)
    finally:
        run_as_root(["rm", "-rf", "--one-file-system", str(work)], "removing the bootstrapped tree")


def _run(command: list[str], what: str) -> None:
    """As root and in namespaces of its own, so that a killed build leaves no mount and no process behind."""
    apart = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
    run_as_root(["env", f"PATH={PATH}", "setpriv", "--pdeathsig", "KILL", *apart, *command], what, BUILD_SECONDS)


def _place_files(recipe: Recipe, image: VmImage, work: Path, tree: Path) -> None:
    login, host = ensure_key(image.key_file, "groundwork-vm"), image.host_key
    staged = work / "files"
    for file in list_files(recipe, login.public, host.private, host.public):
        target = staged / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(file.text)
        target.chmod(file.mode)
    run_as_root(["cp", "-R", "--no-preserve=ownership", f"{staged}/.", str(tree)], "placing files")
    # cp made the folders as the umask says.
    run_as_root(["chmod", "0755", str(tree), str(tree / "etc")], "placing files")


def _make_disk(image: VmImage, work: Path, tree: Path) -> None:
    disk = work / "disk.img"
    with disk.open("wb") as file:
        os.truncate(file.fileno(), DISK_BYTES)
    run_as_root(["env", f"PATH={PATH}", "mkfs.ext4", "-q", "-F", "-d", str(tree), str(disk)], "making the disk", 600)
    for pattern, target in (("vmlinuz-*", image.kernel), ("initrd.img-*", image.ramdisk)):
        source = max(tree.glob(f"boot/{pattern}"))
        run_as_root(["install", "-m", "0644", str(source), str(target)], "taking the kernel out")
    disk.rename(image.disk)
