"""Files of the network: addresses of ADD and of contexts, Git repositories among them. Blocking."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import subprocess
import tarfile
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

from stackctl.errors import ImageError, NotFound
from stackctl.image.removal import remove_tree
from stackctl.values import dataclass

HTTP = ("http://", "https://")
_GIT = re.compile(r"git://|ssh://|[A-Za-z0-9._-]+@[^/:\s]+:(?!//)|https?://[^#?]+\.git(?:[#?]|$)")
_HUBS = ("github.com/", "gitlab.com/")
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_QUERY = ("ref", "branch", "tag", "commit", "checksum", "subdir")
_MAGIC = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd")
_TIMEOUT = 60.0
#: The secrets that BuildKit takes for Git over HTTP, by name or by name and host.
_TOKEN, _HEADER = "GIT_AUTH_TOKEN", "GIT_AUTH_HEADER"


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """A Git repository as an address has it; `ref` "" is its HEAD."""

    url: str
    ref: str = ""
    #: What `ref` has to turn out to be, or begin with.
    commit: str = ""
    directory: str = ""

    @property
    def name(self) -> str:
        return self.url.rstrip("/").rpartition("/")[2].removesuffix(".git")


def is_git(text: str, *, context: bool = False) -> bool:
    """`context`: github.com/owner/name counts too, as it does for docker build."""
    return bool(_GIT.match(text)) or (context and text.startswith(_HUBS))


def is_remote(text: str) -> bool:
    """Whether a context is somewhere else."""
    return text.startswith(HTTP) or is_git(text, context=True)


def repository(text: str) -> Repository:
    """`URL#ref:directory`, or `URL?ref=...&subdir=...`. Raises ImageError."""
    text = f"https://{text}" if text.startswith(_HUBS) else text
    url, _, fragment = text.partition("#")
    url, _, query = url.partition("?")
    ref, _, directory = fragment.partition(":")
    values = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
    for name in values:
        if name not in _QUERY:
            raise ImageError(
                f"{text[:100]}: {name[:40]!r} means nothing for a repository",
                hint=f"there are {', '.join(_QUERY)}",
            )
    if values.get("branch"):
        ref = f"refs/heads/{values['branch']}"
    elif values.get("tag"):
        ref = f"refs/tags/{values['tag']}"
    ref = values.get("ref") or ref
    directory = values.get("subdir") or directory
    commit = values.get("commit") or values.get("checksum") or ""
    if ref.startswith("-") or any(c.isspace() or c == "\0" for c in ref):
        raise ImageError(f"{text[:100]}: {ref[:40]!r} is not a branch, tag or commit")
    return Repository(
        url=url,
        ref=ref or (commit if _COMMIT.fullmatch(commit) else ""),
        commit=commit,
        directory=directory,
    )


class Git:
    """`secrets` may have tokens for HTTP; `agent` is the socket that ssh takes its keys from."""

    def __init__(self, secrets: Mapping[str, bytes], agent: str = "") -> None:
        self._secrets = secrets
        self._agent = agent

    def clone(self, wanted: Repository, place: Path, *, keep: bool) -> str:
        """The repository's files into the new directory `place`, `.git` only with `keep`.

        The commit. Raises ImageError, NotFound.
        """
        place.mkdir(mode=0o755)
        self._git(wanted, place, "init", "-q", "--template=")
        self._git(wanted, place, "remote", "add", "origin", wanted.url)
        ref = wanted.ref or "HEAD"
        fetch = ("fetch", "-q", "--no-tags")
        # Servers without the wish for depth, or for single commits, give everything.
        if not self._works(wanted, place, *fetch, "--depth=1", "origin", ref):
            everything = ("+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*")
            if _COMMIT.fullmatch(ref):
                self._git(wanted, place, *fetch, "origin", *everything)
            else:
                self._git(wanted, place, *fetch, "origin", ref)
                ref = "FETCH_HEAD"
        else:
            ref = "FETCH_HEAD"
        self._git(wanted, place, "checkout", "-q", "--detach", ref)
        commit = self._git(wanted, place, "rev-parse", "HEAD").strip()
        if wanted.commit and not commit.startswith(wanted.commit):
            raise ImageError(
                f"{wanted.url[:100]}: {wanted.ref or 'HEAD'} is {commit}, not {wanted.commit[:64]}"
            )
        if (place / ".gitmodules").exists():
            update = ("submodule", "update", "-q", "--init", "--recursive")
            if not self._works(wanted, place, *update, "--depth=1"):
                self._git(wanted, place, *update)
        if not keep:
            remove_tree(place / ".git")
            for inner in sorted(place.rglob(".git")):
                if inner.is_file():  # a submodule's
                    inner.unlink()
        return commit

    def _works(self, wanted: Repository, place: Path, *argv: str) -> bool:
        try:
            self._git(wanted, place, *argv)
        except ImageError:
            return False
        return True

    def _git(self, wanted: Repository, place: Path, *argv: str) -> str:
        try:
            done = subprocess.run(
                ["git", "-C", str(place), *argv],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                umask=0o022,
                env=self._environment(wanted.url),
            )
        except FileNotFoundError:
            raise NotFound(
                f"{wanted.url[:100]} needs git, which is not installed", hint="install git"
            ) from None
        if done.returncode:
            said = [line for line in done.stderr.strip().splitlines() if line.strip()]
            raise ImageError(
                f"{wanted.url[:100]}: {said[-1] if said else f'git {argv[0]} failed'}",
                hint="is the address right, and what is after # a branch, tag or commit?",
            )
        return done.stdout

    def _environment(self, url: str) -> dict[str, str]:
        """Nothing of the machine's settings counts, nothing is asked, nothing local is read."""
        proxies = {n: v for n, v in os.environ.items() if n.lower().endswith("_proxy")}
        ssh = "ssh -F none -o BatchMode=yes -o StrictHostKeyChecking=accept-new"
        found = {
            **proxies,
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": "/nonexistent",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ALLOW_PROTOCOL": "http:https:git:ssh",
            "GIT_HTTP_LOW_SPEED_LIMIT": "100",
            "GIT_HTTP_LOW_SPEED_TIME": "60",
            "GIT_SSH_COMMAND": f"{ssh} -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR",
        }
        if self._agent:
            found["SSH_AUTH_SOCK"] = self._agent
        header = self._header(url)
        if header:
            # In the environment: arguments are seen by everybody.
            found |= {
                "GIT_CONFIG_COUNT": "1",
                "GIT_CONFIG_KEY_0": f"http.{_origin(url)}.extraHeader",
                "GIT_CONFIG_VALUE_0": f"Authorization: {header}",
            }
        return found

    def _header(self, url: str) -> str:
        import base64

        host = urllib.parse.urlsplit(url).hostname or ""
        if not url.startswith(HTTP):
            return ""
        for suffix in (f".{host}", ""):
            if content := self._secrets.get(_HEADER + suffix):
                return content.decode(errors="replace").strip()
            if content := self._secrets.get(_TOKEN + suffix):
                pair = b"x-access-token:" + content.strip()
                return "basic " + base64.b64encode(pair).decode()
        return ""


def _origin(url: str) -> str:
    split = urllib.parse.urlsplit(url)
    return f"{split.scheme}://{split.netloc}"


def fetch(url: str, scratch: Path, checksum: str = "", name: str = "") -> Path:
    """A file of the network; its time is what the server says. Raises ImageError."""
    name = name or file_name(url)
    place = scratch / hashlib.sha256(url.encode()).hexdigest()[:16]
    place.mkdir(exist_ok=True)
    target = place / name
    total = hashlib.new(checksum.partition(":")[0] or "sha256")
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as answer, target.open("wb") as file:
            while piece := answer.read(1 << 20):
                total.update(piece)
                file.write(piece)
            modified = answer.headers.get("Last-Modified")
    except (OSError, ValueError) as error:
        raise ImageError(
            f"{url[:100]} cannot be fetched: {error}", hint="is the address right and reachable?"
        ) from None
    found = f"{total.name}:{total.hexdigest()}"
    if checksum and checksum != found:
        raise ImageError(f"{url[:100]} is {found}, not the --checksum that was given")
    if modified:
        from email.utils import parsedate_to_datetime

        with contextlib.suppress(ValueError, TypeError):
            stamp = parsedate_to_datetime(modified).timestamp()
            os.utime(target, (stamp, stamp))
    return target


def pieces(url: str) -> Iterator[bytes]:
    """What is at an address, as it comes. Raises ImageError."""
    if not url.startswith(HTTP):
        raise ImageError(f"{url[:100]} is no address of the web", hint="http:// or https://")
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as answer:
            while piece := answer.read(1 << 20):
                yield piece
    except (OSError, ValueError) as error:
        raise ImageError(
            f"{url[:100]} cannot be fetched: {error}", hint="is the address right and reachable?"
        ) from None


def file_name(url: str) -> str:
    """The last part of the path. Raises ImageError when there is none."""
    name = urllib.parse.unquote(urllib.parse.urlsplit(url).path).rpartition("/")[2]
    if not name or name in (".", "..") or "\0" in name:
        raise ImageError(f"{url[:100]} has no name for a file at its end")
    return name


def is_archive(fd: int) -> bool:
    """A tar, perhaps compressed. Takes `fd`."""
    with os.fdopen(fd, "rb") as file:
        head = file.read(512)
        if len(head) < 6 or not (head[257:262] == b"ustar" or head.startswith(_MAGIC)):
            return False
        if head.startswith(_MAGIC[3]):
            return True
        file.seek(0)
        try:
            with tarfile.open(fileobj=file, mode="r:*"):
                return True
        except (tarfile.TarError, OSError, EOFError, ValueError):
            return False
