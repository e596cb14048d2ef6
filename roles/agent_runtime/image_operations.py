"""Images of containers as pyinfra operations; each asks the engine and does nothing when the image is there."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from pyinfra import host, state
from pyinfra.api import FileUploadCommand, QuoteString, StringCommand, operation
from pyinfra.api.command import PyinfraCommand

from groundwork.engine.uploads import MAKE_UPLOADS
from roles.agent_runtime.facts import Images, PlatformImages
from roles.agent_runtime.images import BASE_PACKAGES, Image, key_path
from roles.agent_runtime.operations import command, command_prefix


def _run(platform: str, *arguments: str) -> StringCommand:
    return StringCommand(command_prefix(), command(platform, *arguments))


@operation()
def base_image(platform: str, tag: str) -> Generator[PyinfraCommand, None, None]:
    """
    Make the image that the runtime's images rest on, from the host's own package sources.

    + platform: the platform's name
    + tag: the image's name, which changes when what is in it does
    """
    if tag in host.get_fact(Images):
        host.noop(f"{tag} is there")
        return
    yield _run(platform, "image-base", tag, *BASE_PACKAGES)


@operation()
def image(platform: str, image: Image, base: str, release: str) -> Generator[PyinfraCommand, None, None]:
    """
    Have one image: of the installed release, built from a folder, or pulled by its digest and its signature checked.

    + platform: the platform's name
    + image: what ``list_images`` found
    + base: the base image's name
    + release: the release of the runtime package
    """
    present = host.get_fact(Images)
    if image.reference in present and (not image.accepted or image.accepted in present):
        host.noop(f"{image.reference} is there")
        return
    yield StringCommand(MAKE_UPLOADS)
    if image.container.source == "runtime":
        yield _run(platform, "image-release", image.reference, base, release)
    elif image.archive is not None:
        archive = f"/opt/groundwork/{platform}/.{image.archive.name}"
        yield FileUploadCommand(str(image.archive), archive)
        yield _run(platform, "image-build", image.reference, archive)
    else:
        key = key_path(platform, image)
        if image.key is not None:
            yield FileUploadCommand(str(image.key), key)
        yield _run(platform, "image-pull", image.reference, key, image.accepted)


@operation()
def surplus_images(platform: str, needed: Sequence[str]) -> Generator[PyinfraCommand, None, None]:
    """
    Remove images of the platform that nothing needs any more.

    + platform: the platform's name
    + needed: names of those that stay
    """
    surplus = [name for name in host.get_fact(PlatformImages, platform=platform) if name not in needed]
    # In a plan, what is about to be built is not there yet, and what is in use now will be left over.
    if not surplus or not state.is_executing:
        host.noop("no image is left over")
        return
    yield StringCommand("docker image rm --", *[QuoteString(name) for name in surplus], ">/dev/null")
