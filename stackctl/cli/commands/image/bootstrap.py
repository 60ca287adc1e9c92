"""stackctl image bootstrap: a base image out of a distribution's packages, without a registry."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from stackctl.cli.invocation import Invocation, invocation
from stackctl.cli.values import one_of
from stackctl.errors import MachineError, NotPermitted, UsageError
from stackctl.model.reference import parse

_TOOLS = ("mmdebstrap", "debootstrap")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def bootstrap(
    ctx: typer.Context,
    name: Annotated[
        str,
        typer.Argument(metavar="DISTRIBUTION:SUITE", help="For example debian:bookworm."),
    ],
    tag: Annotated[
        str, typer.Option("-t", "--tag", metavar="NAME", help="What to call the image instead.")
    ] = "",
    include: Annotated[
        list[str] | None,
        typer.Option(
            "--include", metavar="PACKAGES", help="More of them, with commas; repeatable."
        ),
    ] = None,
    variant: Annotated[
        str, typer.Option("--variant", metavar="NAME", help="The tool's: minbase, buildd...")
    ] = "minbase",
    mirror: Annotated[
        str,
        typer.Option(
            "--mirror",
            metavar="URL",
            help="Where packages are; default: this machine's own sources, or the tool's.",
        ),
    ] = "",
    tool: Annotated[
        str, typer.Option("--tool", metavar="mmdebstrap|debootstrap", help="Default: what is here.")
    ] = "",
) -> int:
    """Make a base image of a distribution's packages, with mmdebstrap or debootstrap."""
    run = invocation(ctx)
    reference = parse(name)
    suite = reference.tag
    if not suite or suite == "latest" or reference.digest:
        raise UsageError(f"{name} names no suite", hint="for example debian:bookworm")
    found = _tool(tool)
    if os.geteuid() != 0:
        raise NotPermitted(f"{found} makes a root file system, which takes root", hint="use sudo")
    sources = [mirror] if mirror else _sources(reference.path.rpartition("/")[2], suite)
    packages = ",".join(include or ())
    # Where large files may be. The engine, which may leave meanwhile, is asked at the end.
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR") or "/var/tmp") as directory:
        archive = Path(directory) / "root.tar"
        make = _mmdebstrap if found == "mmdebstrap" else _debootstrap
        make(run, suite, sources, variant, packages, archive)
        result = run.client.call(
            "image-import",
            {
                "input": str(archive),
                "reference": tag or name,
                "changes": [f"ENV PATH={_PATH}", 'CMD ["bash"]'],
                "message": f"{found} {suite} ({variant})",
                "platform": "",
            },
        )
    run.console.out(str(result["id"]))
    return 0


def _tool(wanted: str) -> str:
    if wanted:
        one_of("--tool", wanted, _TOOLS)
    for name in (wanted,) if wanted else _TOOLS:
        if shutil.which(name):
            return name
    raise MachineError(
        f"{wanted or 'neither mmdebstrap nor debootstrap'} is "
        + ("not installed" if wanted else "installed"),
        hint="apt-get install mmdebstrap; or `stackctl image import` a root file system made"
        " elsewhere",
    )


def _mmdebstrap(
    run: Invocation, suite: str, sources: list[str], variant: str, packages: str, archive: Path
) -> None:
    command = ["mmdebstrap", f"--variant={variant}", "--format=tar", "--quiet"]
    if packages:
        command.append(f"--include={packages}")
    _execute(run, [*command, suite, str(archive), *sources])


def _debootstrap(
    run: Invocation, suite: str, sources: list[str], variant: str, packages: str, archive: Path
) -> None:
    root = archive.with_name("root")
    command = ["debootstrap", f"--variant={variant}"]
    if packages:
        command.append(f"--include={packages}")
    # It takes one address, not a file of sources.
    addresses = [address_of(source, suite) for source in sources]
    _execute(run, [*command, suite, str(root), *addresses[:1]])
    for cache in ("var/cache/apt/archives", "var/lib/apt/lists"):
        shutil.rmtree(root / cache, ignore_errors=True)
        (root / cache / "partial").mkdir(parents=True, exist_ok=True)
    pack = ["tar", "--numeric-owner", "--xattrs", "--xattrs-include=*", "-C", str(root)]
    _execute(run, [*pack, "--one-file-system", "-cf", str(archive), "."])


def _execute(run: Invocation, command: list[str]) -> None:
    """Its own words go to standard error. Raises MachineError."""
    run.console.flush()
    run.console.stderr.flush()
    done = subprocess.run(command, stdout=2, check=False)
    if done.returncode != 0:
        raise MachineError(
            f"{command[0]} ended with {done.returncode}",
            hint="its own words are above; --mirror names another place for packages",
        )


def _sources(distribution: str, suite: str) -> list[str]:
    """Files of this machine's package sources that have the suite; none: the tool's default."""
    try:
        release = Path("/etc/os-release").read_text()
    except OSError:
        return []
    if not re.search(rf'^ID="?{re.escape(distribution)}"?$', release, re.MULTILINE):
        return []
    apt = Path("/etc/apt")
    files = [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*.sources"))]
    files += sorted((apt / "sources.list.d").glob("*.list"))
    return [str(file) for file in files if _has_suite(file, suite)]


def _has_suite(file: Path, suite: str) -> bool:
    return bool(address_of(str(file), suite))


def address_of(source: str, suite: str) -> str:
    """The address of the packages of a suite, in a file of either form; of an address: itself."""
    if "://" in source:
        return source
    try:
        text = Path(source).read_text()
    except OSError:
        return ""
    for line in text.splitlines():
        words = re.sub(r"\[.*?\]", "", line).split()
        if len(words) > 2 and words[0] == "deb" and words[2] == suite:
            return words[1]
    for stanza in re.split(r"\n\s*\n", text):
        fields = dict(re.findall(r"^([A-Za-z-]+):[ \t]*(.*)$", stanza, re.MULTILINE))
        enabled = fields.get("Enabled", "yes").strip().lower() not in ("no", "false")
        if enabled and suite in fields.get("Suites", "").split():
            return str((fields.get("URIs", "").split() or [""])[0])
    return ""
