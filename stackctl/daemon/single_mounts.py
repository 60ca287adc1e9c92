"""What a create request says of mounts -> the mounts of one container. Pure; see `single`."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator
from dataclasses import replace

from stackctl.daemon.single_rights import Wish
from stackctl.errors import StackctlError, UsageError
from stackctl.model.container import BindMount, ImageMount, Mount, TmpfsMount, VolumeMount
from stackctl.model.image import Image
from stackctl.spec import volumes as volume_forms

#: A name for an anonymous volume at a target.
NameVolume = Callable[[str], str]


def mounts(
    wish: Wish, host: Wish, image: Image, name_volume: NameVolume, inherited: tuple[Mount, ...]
) -> tuple[Mount, ...]:
    """The mounts, each target once: explicit ones win over those of other containers
    (`inherited`), these over the image's. UsageError, StackctlError."""
    found: dict[str, Mount] = {}
    for target in wish.get("Volumes") or {}:
        if not target.startswith("/"):
            # Clients send "c:/data" as one text: a volume cannot have a single letter's name.
            raise UsageError(f'"{target}" is no place for a mount', hint="an absolute path")
    for target in (*image.config.volumes, *(wish.get("Volumes") or {})):
        place = posixpath.normpath(target)
        found[place] = VolumeMount(volume=name_volume(target), target=place, anonymous=True)
    for mount in inherited:
        found[posixpath.normpath(mount.target)] = mount
    own: set[str] = set()
    for mount in _own_mounts(host, name_volume):
        target = posixpath.normpath(mount.target)
        _checked_target(mount.target)
        if reason := volume_forms.forbidden(target):
            raise UsageError(reason, hint="mount it somewhere else")
        if target in own:
            raise UsageError(f"two mounts have the target {target}")
        own.add(target)
        found[target] = replace(mount, target=target)
    return tuple(found.values())


def _checked_target(target: str) -> None:
    """In Docker's words."""
    if not target.startswith("/"):
        raise UsageError(f"invalid mount path: '{target}' mount path must be absolute")
    if not target.strip("/"):
        reason = volume_forms.forbidden("/")
        raise UsageError(f"invalid specification: destination can't be '/': {reason}")


def _own_mounts(host: Wish, name_volume: NameVolume) -> Iterator[Mount]:
    for target, options in (host.get("Tmpfs") or {}).items():
        yield _tmpfs(f"{target}:{options}" if options else target)
    for spec in host.get("Binds") or ():
        yield _bind(str(spec), name_volume)
    for raw in host.get("Mounts") or ():
        yield _mount(raw, name_volume)


def _tmpfs(spec: str) -> TmpfsMount:
    _checked_target(spec.partition(":")[0])
    try:
        return volume_forms.parse_tmpfs(spec)
    except ValueError as error:
        raise UsageError(f"tmpfs: {error}") from None


def _bind(spec: str, name_volume: NameVolume) -> Mount:
    try:
        form = volume_forms.parse(spec)
    except ValueError as error:
        raise UsageError(f"volume: {error}") from None
    source, target = str(form.get("source") or ""), str(form["target"])
    read_only = bool(form.get("read_only"))
    if form["type"] == "bind":
        if not source.startswith("/"):
            raise UsageError(f'volume "{spec}": the host path is not absolute')
        propagation = str(form["bind"].get("propagation") or "rprivate")
        return BindMount(
            source=source,
            target=target,
            read_only=read_only,
            propagation=propagation,
            selinux=str(form["bind"].get("selinux") or ""),
        )
    return VolumeMount(
        volume=source or name_volume(target),
        target=target,
        read_only=read_only,
        nocopy=bool((form.get("volume") or {}).get("nocopy")),
        anonymous=not source,
    )


def _mount(raw: Wish, name_volume: NameVolume) -> Mount:
    kind, target = str(raw.get("Type") or "volume"), str(raw.get("Target") or "")
    source, read_only = str(raw.get("Source") or ""), bool(raw.get("ReadOnly"))
    _only_options_of(kind, target, raw)
    if not target:
        raise _bad_mount(kind, "field Target must not be empty")
    if kind == "bind" and not source:
        raise _bad_mount(kind, "field Source must not be empty")
    if kind == "tmpfs" and source:
        raise _bad_mount(kind, "field Source must not be specified")
    match kind:
        case "bind":
            options = raw.get("BindOptions") or {}
            if not source.startswith("/"):
                raise UsageError(f'mount at {target}: the source "{source}" is not absolute')
            return BindMount(
                source=source,
                target=target,
                read_only=read_only,
                create_host_path=bool(options.get("CreateMountpoint")),
                propagation=str(options.get("Propagation") or "rprivate"),
                recursive=not options.get("NonRecursive"),
            )
        case "volume":
            options = raw.get("VolumeOptions") or {}
            subpath = str(options.get("Subpath") or "")
            if volume_forms.leads_out(subpath):
                raise _bad_mount(kind, "subpath must be a relative path within the volume")
            return VolumeMount(
                volume=source or name_volume(target),
                target=target,
                read_only=read_only,
                nocopy=bool(options.get("NoCopy")),
                anonymous=not source,
                subpath=subpath,
            )
        case "tmpfs":
            options = raw.get("TmpfsOptions") or {}
            if options.get("Options"):
                raise StackctlError(f"mount at {target}: options of a tmpfs are not supported")
            return TmpfsMount(
                target=target,
                size=options.get("SizeBytes") or None,
                mode=options.get("Mode") or None,
                read_only=read_only,
            )
        case "image":
            subpath = str((raw.get("ImageOptions") or {}).get("Subpath") or "")
            if not source:
                raise _bad_mount(kind, "field Source must not be empty")
            if volume_forms.leads_out(subpath):
                raise _bad_mount(kind, "subpath must be a relative path within the image")
            return ImageMount(image=source, target=target, subpath=subpath)
        case "npipe" | "cluster":
            raise StackctlError(f'mounts of the type "{kind}" are not supported')
        case _:
            raise UsageError(f'invalid mount config: mount type unknown: "{kind}"')


def _bad_mount(kind: str, what: str) -> UsageError:
    """In Docker's words."""
    return UsageError(f'invalid mount config for type "{kind}": {what}')


#: How late a mount may show changes; those of Linux are never late, so all are kept.
_CONSISTENCIES = ("", "default", "consistent", "cached", "delegated")


def _only_options_of(kind: str, target: str, raw: Wish) -> None:
    """As Docker: options of another type, or that contradict each other, are mistakes."""
    if (consistency := str(raw.get("Consistency") or "")) not in _CONSISTENCIES:
        raise UsageError(f'mount at {target}: "{consistency}" is no consistency')
    for name in ("Bind", "Volume", "Tmpfs", "Image"):
        if raw.get(f"{name}Options") and name.lower() != kind:
            raise _bad_mount(kind, f"field {name}Options must not be specified")
    options = raw.get("BindOptions") or {}
    if options.get("ReadOnlyNonRecursive"):
        raise StackctlError(
            f"mount at {target}: ReadOnlyNonRecursive is not supported",
            hint="what is read-only is so with all mounts below it",
        )
    if options.get("ReadOnlyForceRecursive") and not raw.get("ReadOnly"):
        raise UsageError(f"mount at {target}: ReadOnlyForceRecursive wants ReadOnly")
