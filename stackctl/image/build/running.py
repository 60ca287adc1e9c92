"""RUN as a step of a stage: the process's root, its mounts, and what is left of them afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import stat
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from stackctl.errors import CommandFailed, Place
from stackctl.image.build import copying, mounts
from stackctl.image.build import instructions as ins
from stackctl.image.build.copying import Source, Wish
from stackctl.image.build.graph import FromContext, FromImage, FromStage
from stackctl.image.build.mounts import RunMount
from stackctl.image.build.progress import Vertex
from stackctl.image.build.request import RunJob
from stackctl.image.build.settings import PROXIES, Expander
from stackctl.image.build.tree import Tree
from stackctl.image.build.upper import Upper
from stackctl.image.content import Layer
from stackctl.image.difference import STUBS
from stackctl.model.container import BindMount, Mount, TmpfsMount
from stackctl.model.image import OverlayMount, Snapshot

if TYPE_CHECKING:
    from stackctl.image.build.stage import StageRun

_SCRIPTS = "/dev/pipes"
_CONTEXT_LINES = 2
_HOSTNAME = "buildkitsandbox"


class Running:
    def __init__(self, run: StageRun, vertex: Vertex, made: ins.Run, text: Expander) -> None:
        self._run = run
        self._vertex = vertex
        self._made = made
        self._text = text
        now = run.state.settings
        self._mounts = [
            mounts.resolve(flag, now.working_dir, text, number)
            for number, flag in enumerate(made.mounts)
        ]
        self._script: bytes | None = None
        self._held: set[str] = set()
        self._check_rights()
        self._argv = self._command()

    async def layer(self) -> Layer | None:
        run, request = self._run, self._run.build.request
        now = run.state.settings
        given = {n: v for n, v in now.arguments.items() if n not in now.environment}
        proxies = {n: v for n, v in run.build.arguments.items() if n in PROXIES}
        secret = self._secret_variables()
        with ExitStack() as held:
            sources = [await self._source(m, held) for m in self._mounts]

            async def key() -> str:
                digests = run.build.digests
                files = [
                    await asyncio.to_thread(copying.fingerprint, s, w, digests) if s else ""
                    for s, w in sources
                ]
                return run.key(
                    "run",
                    argv=self._argv,
                    script=self._script.decode() if self._script else "",
                    arguments={n: v for n, v in given.items() if n not in PROXIES},
                    mounts=[repr(m) for m in self._mounts],
                    files=files,
                    network=self._network(),
                    hosts=sorted(request.extra_hosts),
                    security=self._made.security,
                    privileged=request.privileged,
                    shm=request.shm_size,
                    ulimits=[repr(limit) for limit in request.ulimits],
                    hostname=self._hostname(),
                )

            async def work(directory: Path) -> None:
                env = {**proxies, **given, **now.environment, **secret, **self._agent_variable()}
                await self._execute(directory, sources, tuple(f"{n}={v}" for n, v in env.items()))

            return await run.layered(self._vertex, [key], work)

    def _check_rights(self) -> None:
        """A Dockerfile that came from elsewhere cannot make itself the machine's root."""
        request, made = self._run.build.request, self._made
        if made.security == "insecure" and not (
            request.privileged or "security.insecure" in request.allow
        ):
            raise self._text.error(
                "RUN --security=insecure has to be allowed by who builds",
                "--allow security.insecure; only with Dockerfiles that you trust",
            )
        if (
            made.network == "host"
            and request.network != "host"
            and ("network.host" not in request.allow)
        ):
            raise self._text.error(
                "RUN --network=host has to be allowed by who builds",
                "--allow network.host, or --network host for all RUNs",
            )

    def _hostname(self) -> str:
        return self._run.build.arguments.get("BUILDKIT_SANDBOX_HOSTNAME") or _HOSTNAME

    def _agent_variable(self) -> dict[str, str]:
        """The first agent that is there is the one that ssh finds."""
        has = self._run.build.agents.has
        sockets = [m.target for m in self._mounts if m.type == "ssh" and has(m.id)]
        return {"SSH_AUTH_SOCK": sockets[0]} if sockets else {}

    def _network(self) -> str:
        wanted = self._made.network
        return self._run.build.request.network if wanted == "default" else wanted

    def _command(self) -> tuple[str, ...]:
        """Here-documents as BuildKit hands them on: the body alone is the shell's program."""
        command, shell = self._made.command, self._run.state.settings.shell
        if isinstance(command, ins.ExecForm):
            return command.argv
        text, bodies = command.text, command.heredocs
        if not bodies:
            return (*shell, text)
        first = bodies[0]
        if len(bodies) == 1 and re.fullmatch(r"<<-?['\"]?[^<\s]+", text.strip()):
            content = re.sub(r"(?m)^\t+", "", first.content) if first.chomp else first.content
            if not content.startswith("#!"):
                return (*shell, content)
            self._script = content.encode()
            return (f"{_SCRIPTS}/{first.name}",)
        return (*shell, "".join([text, *(f"\n{b.content}{b.name}" for b in bodies)]))

    # -- mounts

    def _secret_variables(self) -> dict[str, str]:
        found = {}
        for mount in self._mounts:
            if mount.type == "secret" and mount.env:
                content = self._run.build.request.secrets.get(mount.id)
                if content is not None:
                    found[mount.env] = content.decode(errors="surrogateescape")
                elif mount.required:
                    raise mounts.missing_secret(self._text, mount)
        return found

    async def _source(self, mount: RunMount, held: ExitStack) -> tuple[Source | None, Wish]:
        """What a bind (or the beginning of a cache) takes its files from."""
        wish = Wish(sources=(mount.source or "/",), destination="/", into=False)
        if mount.type not in ("bind", "cache") or (mount.type == "cache" and not mount.from_):
            return None, wish
        build, run = self._run.build, self._run
        if not mount.from_:
            return build.context, wish
        match build.origin(run.stage, mount.from_, self._made):
            case FromContext(name=context):
                reference = await build.context_image(context)
                if not reference:
                    return await asyncio.to_thread(build.named_context, context), wish
                state = await build.image_state(reference)
            case FromStage(index=index):
                state = await build.stage(index)
            case FromImage(reference=reference):
                state = await build.image_state(reference)
            case _:
                return None, wish
        tree = held.enter_context(await asyncio.to_thread(build.tree_of, state, None))
        return Source(tree, f"{mount.from_!r}", keep_owner=True), wish

    async def _prepared(
        self, directory: Path, sources: list[tuple[Source | None, Wish]], held: AsyncExitStack
    ) -> list[Mount]:
        found: list[Mount] = []
        # In one order everywhere: two steps that lock two caches each do not wait for each other.
        for name in sorted({m.id for m in self._mounts if m.type == "cache" and _is_locked(m)}):
            self._held.add(name)
            await held.enter_async_context(self._run.build.mounts.turn(name))
        for number, (mount, (source, wish)) in enumerate(zip(self._mounts, sources, strict=True)):
            match mount.type:
                case "tmpfs":
                    found.append(
                        TmpfsMount(target=mount.target, size=mount.size or None, read_only=False)
                    )
                case "bind":
                    place = directory / f"bind-{number}"
                    real = await asyncio.to_thread(_copied, place, source, wish)
                    found.append(_bind(real, mount.target, mount.read_only))
                case "cache":
                    real = await self._cache(mount, source, wish, held)
                    found.append(_bind(real, mount.target, mount.read_only and _asked(mount)))
                case "secret":
                    content = self._run.build.request.secrets.get(mount.id)
                    if content is None:
                        if mount.required:
                            raise mounts.missing_secret(self._text, mount)
                        continue
                    if mount.target:
                        home = self._run.build.secret_directory()
                        place = home / str(id(self))
                        place.mkdir(mode=0o700)
                        held.callback(_remove_files, place)
                        file = mounts.secret_file(place, number, mount, content)
                        found.append(_bind(file, mount.target, True))
                case "ssh":
                    if socket := await self._agent(mount, number, held):
                        found.append(_bind(socket, mount.target, False))
        if self._script is not None:
            file = directory / "script"
            file.write_bytes(self._script)
            file.chmod(0o755)
            found.append(_bind(file, self._argv[0], True))
        return found

    async def _agent(self, mount: RunMount, number: int, held: AsyncExitStack) -> Path | None:
        """A socket of the container's own user that leads to the agent; None: not given."""
        agents, home = self._run.build.agents, self._run.build.secret_directory()
        if not agents.has(mount.id):
            if mount.required:
                raise self._text.error(
                    f"the agent {mount.id!r} was not given", f"give it with --ssh {mount.id}"
                )
            return None
        agent = await agents.socket(mount.id, home)
        place = home / f"ssh-{id(self)}-{number}"
        await held.enter_async_context(agents.serving(place, agent))
        held.callback(place.unlink, missing_ok=True)
        os.chown(place, mount.uid, mount.gid)
        place.chmod(mount.mode)
        return place

    async def _cache(
        self, mount: RunMount, source: Source | None, wish: Wish, held: AsyncExitStack
    ) -> Path:
        build = self._run.build
        unique = ""
        if mount.sharing != "shared":
            if mount.sharing == "private" and build.mounts.busy(mount.id):
                unique = build.unique()
            elif mount.id not in self._held:
                self._held.add(mount.id)
                await held.enter_async_context(build.mounts.turn(mount.id))
        place, fd = build.cache_mounts.take(mount, unique)
        held.callback(os.close, fd)
        if source is not None and not any(place.iterdir()):
            await asyncio.to_thread(_copied, place, source, wish)
        return place

    # -- the process

    async def _execute(
        self, directory: Path, sources: list[tuple[Source | None, Wish]], env: tuple[str, ...]
    ) -> None:
        run, build, now = self._run, self._run.build, self._run.state.settings
        async with AsyncExitStack() as held:
            prepared = await self._prepared(directory, sources, held)
            snapshot = await asyncio.to_thread(build.snapshot, run.state, directory)
            targets = [m.target for m in self._mounts if m.target]
            missing = await asyncio.to_thread(self._missing, [*STUBS, *targets])
            job = RunJob(
                title=self._made.text,
                argv=self._argv,
                env=env,
                working_dir=now.working_dir,
                user=now.user,
                snapshot=snapshot,
                mounts=tuple(prepared),
                network=self._network(),
                extra_hosts=build.request.extra_hosts,
                shm_size=build.request.shm_size,
                privileged=build.request.privileged or self._made.security == "insecure",
                ulimits=build.request.ulimits,
                hostname=self._hostname(),
            )
            code = await build.runner.run(job, self._vertex.output)
        if code:
            raise self._failed(code)
        await asyncio.to_thread(_gather, snapshot, directory / "upper")
        await asyncio.to_thread(_remove_stubs, directory / "upper", missing)

    def _missing(self, paths: list[str]) -> list[str]:
        """Of these paths and those above them, what is not there before the start."""
        found: set[str] = set()
        with self._run.tree() as tree:
            for path in paths:
                try:
                    node, rest = tree.resolve(path)
                except OSError:
                    continue
                above = node.path
                for name in rest:
                    above = f"{above}/{name}" if above else name
                    found.add(above)
        return sorted(found, key=lambda p: -p.count("/"))

    def _failed(self, code: int) -> CommandFailed:
        build, made = self._run.build, self._made
        one_line = " ".join(made.text.split())
        command = one_line if len(one_line) < 120 else one_line[:117] + "..."
        lines = build.lines
        first = max(1, made.first - _CONTEXT_LINES)
        last = min(len(lines), made.last + _CONTEXT_LINES)
        excerpt = [
            f"{n:4} {'>>>' if made.first <= n <= made.last else '   '} {lines[n - 1]}"
            for n in range(first, last + 1)
        ]
        shown = self._vertex.last_lines
        return CommandFailed(
            f"{command}: exit code {code}",
            command=self._argv,
            code=code,
            hint="the end of its output and the instruction are below",
            place=Place(build.file.file, made.first),
            details=(*shown, *([""] if shown else []), *excerpt),
        )


def _is_locked(mount: RunMount) -> bool:
    return mount.sharing == "locked"


def _asked(mount: RunMount) -> bool:
    """Caches are writable unless they are asked not to be."""
    return mount.read_only


def _bind(source: Path, target: str, read_only: bool) -> BindMount:
    return BindMount(source=str(source), target=target, read_only=read_only, create_host_path=False)


def _copied(place: Path, source: Source | None, wish: Wish) -> Path:
    """A copy of what is bound: whatever RUN writes there is gone with it. Blocking."""
    place.mkdir(mode=0o755, exist_ok=True)
    if source is None:
        return place
    chosen = copying.select(source, wish.sources[0])
    into = not chosen[0].node.is_directory
    with Tree([place], plain=True) as view:
        upper = Upper(place, view)
        try:
            whole = Wish(sources=wish.sources, destination="/", into=into)
            copying.perform(source, whole, upper)
        finally:
            upper.close()
    return place / chosen[0].name if into else place


def _remove_files(place: Path) -> None:
    for file in place.iterdir():
        file.unlink()
    place.rmdir()


def _gather(snapshot: Snapshot, upper: Path) -> None:
    """The uppers of further parts (/usr of the host image) become directories of the first."""
    for mount in snapshot.mounts[1:]:
        assert isinstance(mount, OverlayMount)
        part = Path(mount.upper)
        if not any(part.iterdir()):
            continue
        target = upper / mount.target.strip("/")
        with contextlib.suppress(FileNotFoundError):
            target.rmdir()
        target.parent.mkdir(parents=True, exist_ok=True)
        part.rename(target)


def _remove_stubs(upper: Path, missing: list[str]) -> None:
    """What the start made to mount something on, if it is still empty."""
    for path in missing:
        stub = upper / path
        try:
            status = stub.lstat()
            if stat.S_ISDIR(status.st_mode):
                if not status.st_mode & stat.S_ISVTX:
                    stub.rmdir()
            elif stat.S_ISREG(status.st_mode) and status.st_size == 0:
                os.unlink(stub)
        except OSError:
            continue  # not made, or something was put into it
