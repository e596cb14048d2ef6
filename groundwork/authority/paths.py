"""Where certificates, keys and trust lie on a host. Roles read these paths; only ``pki`` writes them."""

from __future__ import annotations

from typing import Protocol

CONFIGURATION = "/etc/groundwork"


def authority_folder(platform: str) -> str:
    """Folder of what everybody on the host may read: the trusted roots and the revocation lists."""
    return f"{CONFIGURATION}/{platform}/authority"


def bundle(platform: str) -> str:
    """All trusted roots (PEM); two while the authority is rotated."""
    return f"{authority_folder(platform)}/bundle.pem"


def revocation_list(platform: str) -> str:
    """Revocation lists (PEM) of all trusted roots and intermediates, for ``ssl_crl`` of nginx and PostgreSQL's."""
    return f"{authority_folder(platform)}/crl.pem"


def identity_folder(platform: str, unit: str) -> str:
    """Folder of one identity: the folders of its last certificates and the link ``current``."""
    return f"{CONFIGURATION}/{platform}/certificates/{unit}"


def certificate_folder(platform: str, unit: str) -> str:
    """The link to the folder with the key and certificate in use. Its change time is when they came into use."""
    return f"{identity_folder(platform, unit)}/current"


def certificate(platform: str, unit: str) -> str:
    """The unit's certificate followed by the intermediate's (PEM, 0444)."""
    return f"{certificate_folder(platform, unit)}/certificate.pem"


def key(platform: str, unit: str) -> str:
    """The unit's private key (PEM, 0400, the service user's)."""
    return f"{certificate_folder(platform, unit)}/key.pem"


def reload_inputs(platform: str, unit: str) -> list[str]:
    """Paths whose change means that a service has to load certificate or trust anew."""
    return [certificate_folder(platform, unit), bundle(platform), revocation_list(platform)]


class Identified(Protocol):
    """What has an identity on a platform."""

    @property
    def platform(self) -> str:
        """The platform's name."""

    @property
    def identity(self) -> str:
        """The unit's name, after which its certificate's folder is named."""


class WithCertificate:
    """A server's plan that says where its certificate, its key and the trusted roots are."""

    @property
    def certificate(self: Identified) -> str:
        """Path of its certificate, followed by the intermediate's."""
        return certificate(self.platform, self.identity)

    @property
    def key(self: Identified) -> str:
        """Path of its private key."""
        return key(self.platform, self.identity)

    @property
    def authority(self: Identified) -> str:
        """Path of the trusted roots."""
        return bundle(self.platform)
