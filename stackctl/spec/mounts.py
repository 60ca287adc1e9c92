"""Mounts of a service, and the files that secrets and configs become."""

import posixpath
from typing import Annotated, Literal

from stackctl.spec import forms
from stackctl.spec.attributes import Approximated, Labels, NoEffect
from stackctl.spec.fields import Attributes, Field
from stackctl.spec.scalars import FileMode, Flag, Integer, MountTarget, Size

_ID = r"^[0-9]{1,9}$"


class BindOptions(Attributes):
    """Options of a host path."""

    create_host_path: Flag = Field(
        True, description="Make an empty directory when the host path is missing."
    )
    propagation: Literal["rprivate", "private", "rshared", "shared", "rslave", "slave"] | None = (
        Field(None, description="How mounts below it are shared (rprivate when absent).")
    )
    recursive: Literal["enabled", "disabled", "writable", "readonly"] | None = Field(
        None, description="`disabled`: mounts below the host path do not come along."
    )
    selinux: Annotated[
        Literal["z", "Z"] | None, NoEffect("without SELinux; where it is on, a start says so", True)
    ] = Field(None, description="A label for SELinux: z (shared) or Z (private). No effect.")


class VolumeOptions(Attributes):
    """Options of a volume."""

    labels: Annotated[
        Labels | None, Approximated("an anonymous volume has no labels of the user's")
    ] = Field(None, description="Labels of an anonymous volume.")
    nocopy: Flag | None = Field(
        None, description="true: do not fill a new volume with the image's files at the target."
    )
    subpath: str | None = Field(None, description="Mount only this directory of the volume.")


class TmpfsOptions(Attributes):
    """Options of a memory-backed directory."""

    size: Size | None = Field(None, description="Upper limit of its content, e.g. 64m.")
    mode: Annotated[Integer | None, forms.OCTAL] = Field(
        None, description="File mode of its root, octal, e.g. 1777."
    )


class ImageMountOptions(Attributes):
    """Options of an image that is mounted."""

    subpath: str | None = Field(None, description="Mount only this directory of the image.")


class ServiceVolume(Attributes):
    """A mount of the container."""

    type: Literal["volume", "bind", "tmpfs", "image", "npipe", "cluster"] = Field(
        description="volume (named, or anonymous without a source), bind (a host path), tmpfs, or "
        "image (another image's files, read-only)."
    )
    source: Annotated[str | None, forms.MOUNT_SOURCE] = Field(
        None,
        description="The volume's key, the host path, relative to the project directory, or the "
        "image.",
    )
    target: MountTarget = Field(description="Where it appears in the container.")
    read_only: Flag | None = Field(None, description="true: the container cannot write to it.")
    consistency: Annotated[str | None, NoEffect("for engines in virtual machines", True)] = Field(
        None, description="For engines in virtual machines; has no effect here."
    )
    bind: BindOptions | None = Field(None, description="Options of a host path.")
    volume: VolumeOptions | None = Field(None, description="Options of a volume.")
    tmpfs: TmpfsOptions | None = Field(None, description="Options of a memory-backed directory.")
    image: ImageMountOptions | None = Field(None, description="Options of an image.")


class ServiceFile(Attributes):
    """A secret or config as a service sees it: a file in its containers."""

    source: str = Field(description="The key of the secret or config.", min_length=1)
    target: str | None = Field(
        None,
        description="Where the file is: a path, or for a secret a name below /run/secrets "
        "(absent: its key there; for a config, its key in the root).",
    )
    uid: str | None = Field(
        None, description="Who owns it, by number (0 when absent).", pattern=_ID
    )
    gid: str | None = Field(
        None, description="Group that owns it, by number (0 when absent).", pattern=_ID
    )
    mode: Annotated[FileMode | None, forms.OCTAL] = Field(
        None, description="File mode, octal (0444 when absent)."
    )

    @property
    def is_copy(self) -> bool:
        """Whether a file of the host is copied for it: owner or mode are others than the file's."""
        return self.uid is not None or self.gid is not None or self.mode is not None


def place_of(section: str, file: ServiceFile) -> str:
    """Where in the container a file of `section` (secrets, configs) is."""
    home = "/run/secrets" if section == "secrets" else "/"
    return posixpath.normpath(posixpath.join(home, file.target or file.source))
