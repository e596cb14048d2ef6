"""One virtual machine: started, waited for, rebooted, stopped. It is reachable from this machine alone."""

from __future__ import annotations

import logging
import os
import shlex
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import paramiko

from groundwork.lab.boot import USER
from groundwork.lab.errors import lab_error
from groundwork.vm.image import VmImage

BOOT_SECONDS = 300
"""Emulated on a busy machine, a boot takes a minute or two."""
# Its threads log every refused connection with a traceback; a machine that boots refuses many.
logging.getLogger("paramiko.transport").setLevel(logging.CRITICAL)
MEMORY_MIB = 1536
CORES = 2


class LoopbackSession:
    """Where the machine's SSH port is forwarded to, and what identifies it."""

    def __init__(self, folder: Path, image: VmImage, port: int) -> None:
        self.port = port
        self.key_file = image.key_file
        self.known_hosts = folder / "known_hosts"
        self.known_hosts.write_text(f"[127.0.0.1]:{port} {' '.join(image.host_key.public.split()[:2])}\n")

    def connect(self, timeout: float = 20) -> paramiko.SSHClient:
        """Log in; ``timeout`` in seconds for each step. Raises paramiko's and the system's errors."""
        client = paramiko.SSHClient()
        client.load_host_keys(str(self.known_hosts))
        client.set_missing_host_key_policy(paramiko.RejectPolicy())
        client.connect(
            "127.0.0.1",
            port=self.port,
            username=USER,
            pkey=paramiko.Ed25519Key.from_private_key_file(str(self.key_file)),
            timeout=timeout,
            banner_timeout=timeout,
            auth_timeout=timeout,
            allow_agent=False,
            look_for_keys=False,
        )
        return client


class Machine:
    """A virtual machine on a copy of an image's disk, in a folder of its own."""

    def __init__(self, image: VmImage, folder: Path, say: Callable[[str], None]) -> None:
        self.image = image
        self.folder = folder
        self._say = say
        self._process: subprocess.Popen[bytes] | None = None
        self.session: LoopbackSession

    def start(self) -> None:
        """Copy the disk, start the machine and wait for a login. Raises ProblemError when none comes."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        disk = self.folder / "disk.img"
        copy = ["cp", "--sparse=always", "--reflink=auto", str(self.image.disk), str(disk)]
        subprocess.run(copy, check=True)
        self.session = LoopbackSession(self.folder, self.image, _free_port())
        accelerator = choose_accelerator()
        self._say(f"starting Debian {self.image.release} ({accelerator})")
        with (self.folder / "console.log").open("wb") as console:
            # Ends with us: pdeathsig is inherited over exec.
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *self._command(accelerator, disk)],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.wait()

    def _command(self, accelerator: str, disk: Path) -> list[str]:
        forward = f"user,id=net0,hostfwd=tcp:127.0.0.1:{self.session.port}-:22"
        command = [
            "qemu-system-x86_64",
            "-accel",
            accelerator,
            "-cpu",
            "max",
            "-smp",
            str(CORES),
            "-m",
            str(MEMORY_MIB),
        ]
        command += ["-kernel", str(self.image.kernel), "-initrd", str(self.image.ramdisk)]
        command += ["-append", "root=/dev/vda rw console=ttyS0 net.ifnames=0"]
        command += ["-drive", f"file={disk},format=raw,if=virtio,cache=unsafe", "-netdev", forward]
        command += ["-device", "virtio-net-pci,netdev=net0", "-device", "virtio-rng-pci"]
        return [*command, "-display", "none", "-monitor", "none", "-serial", "stdio"]

    def wait(self, seconds: float = BOOT_SECONDS) -> None:
        """Wait until systemd has finished starting. Raises ProblemError after ``seconds`` without a login."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                session = self.session.connect()
                break
            except (paramiko.SSHException, OSError, EOFError) as error:
                gone = self._process is not None and self._process.poll() is not None
                if gone or time.monotonic() > deadline:
                    raise lab_error(f"no login to the virtual machine ({error}): {self._tail()}") from error
                time.sleep(1)
        with session:
            _, output, _ = session.exec_command("timeout 240 systemctl is-system-running --wait", timeout=260)
            output.read()

    def run(self, command: str, timeout: float = 600, given: str = "") -> tuple[int, str, str]:
        """Run a command as root; returns its exit status, output and errors. ``timeout``: seconds of silence."""
        with self.session.connect() as client:
            stdin, stdout, stderr = client.exec_command(f"sudo -n sh -c {shlex.quote(command)}", timeout=timeout)
            stdin.write(given)
            stdin.channel.shutdown_write()
            output, errors = stdout.read().decode(errors="replace"), stderr.read().decode(errors="replace")
            return stdout.channel.recv_exit_status(), output, errors

    def check(self, command: str, timeout: float = 600, given: str = "") -> str:
        """Run a command as root and return its output. Raises ProblemError when it fails."""
        status, output, errors = self.run(command, timeout, given)
        if status:
            raise lab_error(f"{command[:80]!r} ended with {status} in the virtual machine: {errors.strip()[-400:]}")
        return output

    def shell(self, command: str, given: str = "", timeout: float = 600) -> str:
        """``check`` with the arguments in the order in which a scan gives them."""
        return self.check(command, timeout, given)

    def reboot(self) -> None:
        """Reboot and wait for the new boot."""
        before = self.check("cat /proc/sys/kernel/random/boot_id")
        self.run("systemctl reboot", timeout=60)
        deadline = time.monotonic() + BOOT_SECONDS
        while time.monotonic() < deadline:
            time.sleep(2)
            try:
                self.wait(30)
                if self.check("cat /proc/sys/kernel/random/boot_id") != before:
                    return
            except (paramiko.SSHException, OSError, EOFError):
                continue
        raise lab_error(f"the virtual machine did not come back: {self._tail()}")

    def host_data(self) -> dict[str, object]:
        """How pyinfra reaches it, as host data."""
        return {
            "ssh_hostname": "127.0.0.1",
            "ssh_port": self.session.port,
            "ssh_user": USER,
            "ssh_key": str(self.session.key_file),
            "ssh_known_hosts_file": str(self.session.known_hosts),
            "ssh_strict_host_key_checking": "yes",
            "address": "10.0.2.15",
            "controllers": ["10.0.2.2"],
            "release": self.image.release,
            "_sudo": True,
        }

    def stop(self) -> None:
        """End the machine and remove its folder; its disk is not kept."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _tail(self) -> str:
        try:
            text = (self.folder / "console.log").read_text(errors="replace")
        except OSError:
            return "no console"
        return " / ".join(text.strip().splitlines()[-3:])


def choose_accelerator() -> str:
    """``kvm`` where a guest with it survives its first second of Debian's kernel, else ``tcg`` (emulation)."""
    # Debian's kernel does not start on every machine that offers /dev/kvm (nested, filtered processor features);
    # emulation always works, so hardware is used only where the user says that it does.
    return "kvm" if os.environ.get("GROUNDWORK_VM_ACCELERATOR") == "kvm" else "tcg,thread=multi"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
