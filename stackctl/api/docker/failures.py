"""The engine's errors in the words that Docker's clients look for.

docker run decides its exit code (125, 126, 127) by them, docker-py its exceptions,
compose what it does next.
"""

from __future__ import annotations

from stackctl.api.docker.call import DockerError
from stackctl.api.docker.port import DockerEngine
from stackctl.errors import (
    Conflict,
    ContainerError,
    ImageAbsent,
    ImageError,
    MachineError,
    NotExecutable,
    NotFound,
    StackctlError,
)
from stackctl.model.record import ContainerRecord


def container_found(engine: DockerEngine, reference: str) -> ContainerRecord:
    """Raises DockerError (404, 400)."""
    try:
        return engine.container(reference.removeprefix("/"))
    except NotFound:
        raise DockerError(404, f"No such container: {reference}") from None
    except Conflict:
        raise DockerError(400, f"multiple IDs found with provided prefix: {reference}") from None


def creation_failed(
    engine: DockerEngine, error: StackctlError, name: str, image: str
) -> StackctlError:
    """Of create and rename."""
    if isinstance(error, Conflict) and name:
        bare = name.removeprefix("/")
        for record in engine.containers():
            if record.name == bare:
                return DockerError(
                    409,
                    f'Conflict. The container name "/{bare}" is already in use by container '
                    f'"{record.id}". You have to remove (or rename) that container to be able '
                    "to reuse that name.",
                )
    if isinstance(error, ImageAbsent):
        other_platform = "not for" in error.brief
        return DockerError(404, error.brief) if other_platform else no_such_image(image)
    if isinstance(error, NotFound):
        # 404 is the image's alone: clients that hear it pull, and try again.
        network = error.brief.startswith("network ")
        words = f"{_last_quoted(error.brief)} not found" if network else _words(error)
        return DockerError(400, words)
    if error.status == 500:
        return DockerError(400, _words(error))
    return error


def no_such_image(reference: str) -> DockerError:
    last = reference.rpartition("/")[2]
    tagged = reference if ":" in last or "@" in last else f"{reference}:latest"
    return DockerError(404, f"No such image: {tagged}")


def registry_failed(error: StackctlError, status: int) -> StackctlError:
    """Of what asks a registry: a name that is none, or a registry that does not answer.

    The latter is no failure of this server, so none of the 500s: `status` is what the API has
    for an image that is not there.
    """
    if isinstance(error, ImageError):
        return DockerError(400, f"invalid reference format: {error}")
    if isinstance(error, MachineError) or error.status != 502:
        return error
    return DockerError(status, _words(error))


def start_failed(record: ContainerRecord, error: StackctlError) -> StackctlError:
    """Of start and restart."""
    if isinstance(error, NotExecutable):
        reason = _not_executed(record.config.argv[:1], error)
        return DockerError(400, f"failed to create task for container: {reason}")
    if isinstance(error, Conflict) and error.brief.startswith(("host port ", "no host port ")):
        return DockerError(
            500,
            "driver failed programming external connectivity on endpoint "
            f"{record.name}: port is already allocated: {_words(error)}",
        )
    return error


def kill_failed(record: ContainerRecord, error: StackctlError) -> StackctlError:
    if isinstance(error, Conflict):
        return DockerError(
            409,
            f"cannot kill container: {record.name}: container {record.id} is not running",
        )
    if "signal" in error.brief:
        return DockerError(400, f"Invalid signal: {_last_quoted(error.brief)}")
    return error


def exec_failed(argv: list[str], error: ContainerError) -> str:
    if isinstance(error, NotExecutable):
        return f"OCI runtime exec failed: exec failed: {_not_executed(tuple(argv[:1]), error)}"
    return f"OCI runtime exec failed: exec failed: {_words(error)}"


def _not_executed(argv: tuple[str, ...], error: NotExecutable) -> str:
    # The two phrases are what the docker command tells 127 and 126 by.
    reason = "executable file not found in $PATH" if error.exit_code == 127 else "permission denied"
    what = argv[0] if argv else ""
    return f'unable to start container process: exec: "{what}": {reason}: {error.brief}'


def _words(error: StackctlError) -> str:
    return f"{error}: {error.hint}" if error.hint else str(error)


def _last_quoted(text: str) -> str:
    """network "x" does not exist -> network x."""
    head, _, rest = text.partition('"')
    name, _, _ = rest.partition('"')
    return f"{head}{name}" if name and "network" in head else name or text
