"""The folder on a host that takes pyinfra's uploads on their way to where they belong."""

from __future__ import annotations

UPLOADS = "/var/lib/groundwork-uploads"

MAKE_UPLOADS = (
    # $SUDO_USER is who logged in: files arrive as that user, before sudo copies them to their place.
    f'install -d -m 0700 -o "${{SUDO_USER:-$(id -un)}}" {UPLOADS} && '
    # Left over by a run that was killed.
    f"find {UPLOADS} -mindepth 1 -maxdepth 1 -mmin +60 -exec rm -rf -- {{}} +"
)
"""Shell command, run with sudo where the host uses sudo, that makes the folder and sweeps old leftovers."""
