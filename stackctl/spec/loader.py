"""Stack files -> Stack. The only module of this room that reads files (see `files`).

    find -> read -> compose -> documents (interpolate ... merge) -> validate -> check -> resolve

Every step adds its mistakes to one list, and goes on as long as the next step
can make sense of what there is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping as Variables
from collections.abc import Sequence
from dataclasses import field
from functools import partial
from typing import TYPE_CHECKING

from stackctl.errors import Place, StackctlError, StackFileError, StackFileErrors
from stackctl.spec import dotenv, project, yaml
from stackctl.spec.files import Files
from stackctl.spec.interpolate import TemplateError, substitute
from stackctl.spec.mistakes import Mistakes
from stackctl.spec.nodes import Mapping, Node, Scalar, is_null, kind
from stackctl.spec.project import LoadRequest
from stackctl.values import dataclass

if TYPE_CHECKING:
    # Models need pydantic, which the project's name alone does not.
    from stackctl.spec.documents import Document
    from stackctl.spec.model import Stack

__all__ = ["LoadRequest", "Loaded", "Notice", "as_written", "examined", "load", "project_name"]

# An environment reaches a process through execve(2), which takes less.
_ENV_SIZE = 1024 * 1024
# More than this of a secret or config is not looked at.
_COPY_SIZE = 1 << 26
# A name can only be given where a line of the text starts with it, or in a flow mapping.
_MAY_HAVE_NAME = re.compile(r"""^[ \t]*(["']?name\b|\{|<<|---|[&!])""", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Something worth telling that is no mistake."""

    text: str
    place: Place | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """`variables`: what the files were interpolated with (environment over .env)."""

    stack: Stack
    warnings: tuple[Notice, ...] = ()
    variables: Variables[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Project:
    files: tuple[str, ...]
    directory: str
    variables: dict[str, str]
    #: Texts of secrets and configs that included projects have from variables of their own.
    given: dict[tuple[str, str], str] = field(default_factory=dict)
    #: By file, what it was filled in with; see Documents.
    filled_with: dict[str, Variables[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """What is done to a project beyond reading and checking it."""

    #: What files leave out is added: names, the default network, what is implied.
    normalize: bool = True
    #: Files of variables are read, and bare names get their values.
    environment: bool = True
    #: Paths of the host begin at its root.
    absolute_paths: bool = True


EVERY_STEP = Steps()


def load(
    request: LoadRequest,
    *,
    services: Sequence[str] = (),
    consistent: bool = True,
    for_containers: bool = True,
    steps: Steps = EVERY_STEP,
) -> Loaded:
    """The project that `request` names, resolved; naming `services` activates their profiles.

    Without `consistent` nobody asks whether what services name exists. With `for_containers`
    the files have to be there that containers of these services and of those that they need
    (of all that are enabled when none is named) are made with.

    Services of inactive profiles are in `stack.disabled`; that none of them is needed, and that
    the engine can carry everything out, is checked where containers are wanted (obstacles.check),
    so that a `down` never fails for it. Raises NotFound when there is no file or no such
    service, StackFileErrors with all mistakes of all files.
    """
    from stackctl.spec import checks, existence, paths, profiles, resolve, shape, validate
    from stackctl.spec.implied import needed

    mistakes = Mistakes()
    found, root, variables = _merged(request, mistakes)
    active = project.active_profiles(request, variables)
    based = paths.rebase(root, shape.stack_shape(), found.directory, variables)
    root = based if steps.absolute_paths else root
    validated = validate.validate(root, mistakes)
    wanted: frozenset[str] = frozenset()
    if validated is not None:
        every = validated[0].services
        enabled = profiles.enabled(every, active, services)
        wanted = needed(every, services) if services else enabled
        if consistent:
            checks.Checks(*validated, root, mistakes, request.source, enabled).run()
    if not for_containers:
        wanted = frozenset()
    if mistakes.errors:
        if for_containers:
            # Who mends the mistakes should not be shown a second round.
            for (section, key), refused in mistakes.refusals.items():
                mistakes.errors += refused if section != "services" or key in wanted else ()
        existence.check(based, request.source, mistakes, wanted if steps.environment else ())
    mistakes.raise_any()
    assert validated is not None
    file, tree = validated
    stack = resolve.resolve(
        file,
        tree,
        resolve.Surroundings(
            name=variables["COMPOSE_PROJECT_NAME"],
            directory=found.directory,
            files=found.files,
            env_files=project.env_files(request),
            profiles=active,
            variables=variables,
            given=found.given,
            filled_with=found.filled_with,
            wanted=wanted,
            all_resources=request.all_resources,
            normalize=steps.normalize,
            environment=steps.environment,
            read_env_file=partial(read_env_file, request.source),
            read_file=partial(read_text, request.source),
            digest=partial(_digest, request.source),
        ),
        mistakes,
    )
    stack = profiles.enable(stack, services)
    mistakes.raise_any()
    warnings = tuple(Notice(text=w.brief, place=w.place) for w in mistakes.warnings)
    return Loaded(stack=stack, warnings=warnings, variables=variables)


def prepare() -> None:
    """Does what is to be done once before a file can be loaded; the first `load` would."""
    from stackctl.spec import checks, documents, existence, resolve, validate  # noqa: F401

    validate.prepare()


def as_written(request: LoadRequest) -> Node:
    """What the files say, merged and in canonical form, with variables as they are written.

    Of its mistakes only keys that do not exist are found: what a value is depends on its
    variables. Raises NotFound, StackFileErrors.
    """
    from stackctl.spec import validate

    mistakes = Mistakes()
    _, root, _ = _merged(request, mistakes, interpolate=False)
    validate.check_keys(root, mistakes)
    mistakes.raise_any()
    return root


def examined(
    request: LoadRequest,
) -> tuple[Node, list[StackFileError], list[StackFileError]]:
    """The merged tree, all that is wrong with it, and the warnings about what it says.

    Nothing of that is raised.
    """
    from stackctl.spec import checks, validate

    mistakes = Mistakes()
    _, root, _ = _merged(request, mistakes)
    of_variables = len(mistakes.warnings)
    try:
        validated = validate.validate(root, mistakes)
        if validated is not None:
            checks.Checks(*validated, root, mistakes, request.source).run()
    except StackFileErrors:
        pass  # too many: those that were found are told
    refused = [error for errors in mistakes.refusals.values() for error in errors]
    return root, [*mistakes.errors, *refused], mistakes.warnings[of_variables:]


def _merged(
    request: LoadRequest, mistakes: Mistakes, *, interpolate: bool = True
) -> tuple[_Project, Node, dict[str, str]]:
    """Where the project is, its tree, and the variables that it was filled in with."""
    from stackctl.spec import documents, shape

    found = _find(request, mistakes)
    read = _documents(found.files, request, mistakes)
    mistakes.raise_any()
    name = _name(request, found, [document.node for document in read])
    variables = {**found.variables, "COMPOSE_PROJECT_NAME": name}
    files = documents.Documents(
        shape.stack_shape(),
        lambda path: yaml.compose(read_text(request.source, path), path),
        lambda paths, outer: _with_env_files(request.source, outer, tuple(paths), mistakes),
        request.source.is_readable,
        mistakes,
        interpolate=interpolate,
    )
    root = files.tree(read, found.directory, variables)
    found.given.update(files.given)
    found.filled_with.update(files.filled_with)
    if root is None:
        raise StackFileError(
            "the file is empty", place=Place(found.files[0]), hint='it starts with "services:"'
        )
    return found, root, variables


def project_name(request: LoadRequest) -> str:
    """Only the project's name, without models: files are read when nothing else names it.

    Raises StackFileError.
    """
    if request.name and not request.files:
        return project.given_name(request, {})
    mistakes = Mistakes()
    try:
        found = _find(request, mistakes)
    except StackctlError:
        name = "" if request.files else project.given_name(request, request.environment)
        if not name:
            raise
        return name  # of the environment, where no file is
    # A file that was named has to be there, whatever the project is called.
    texts = [(path, _text(path, request)) for path in found.files] if request.files else []
    if name := project.given_name(request, found.variables):
        return name
    texts = texts or [(path, _text(path, request)) for path in found.files]
    documents: list[Node] = []
    if any(_MAY_HAVE_NAME.search(text) for _, text in texts):
        documents = [d for path, text in texts for d in yaml.compose(text, path)]
    return _name(request, found, documents)


def _find(request: LoadRequest, mistakes: Mistakes) -> _Project:
    """Files, directory and variables; `.env` may itself say which files.

    What the environment has wins, then the `.env` of the directory that is known without a look
    at files, then that of the project, where it is another one.
    """
    named = project.env_files(request)
    before = project.project_dir(request, request.files)
    paths = named or project.default_env_files(request, before)
    variables = _with_env_files(request.source, dict(request.environment), paths, mistakes)
    files = project.stack_files(request, variables)
    if others := project.passed_by(request, variables, files):
        mistakes.warn(f"this file is taken, {others} beside it is not", (files[0], 0, 0))
    directory = project.project_dir(request, files)
    if not named and directory != before:
        paths = project.default_env_files(request, directory)
        variables = _with_env_files(request.source, variables, paths, mistakes)
    return _Project(files=files, directory=directory, variables=variables)


def _with_env_files(
    source: Files, environment: Variables[str, str], paths: tuple[str, ...], mistakes: Mistakes
) -> dict[str, str]:
    found: dict[str, str] = {}
    for path in paths:

        def lookup(name: str) -> str | None:
            return environment.get(name, found.get(name))

        text = read_text(source, path, _ENV_SIZE)
        found.update(dotenv.parse(text, path, lookup, mistakes.unset))
    return {**found, **environment}


def _text(path: str, request: LoadRequest) -> str:
    """Of a stack file that was named. Raises StackFileError."""
    return request.stdin if path == project.STDIN else read_text(request.source, path)


def _documents(files: tuple[str, ...], request: LoadRequest, mistakes: Mistakes) -> list[Document]:
    """All documents of all files, in the order in which they merge."""
    from stackctl.spec.documents import Document

    documents: list[Document] = []
    for path in files:
        try:
            documents.extend(Document(path, n) for n in yaml.compose(_text(path, request), path))
        except StackFileError as error:
            mistakes.collect(error)
    return documents


def _name(request: LoadRequest, found: _Project, documents: list[Node]) -> str:
    """-p, environment, the last file's `name:`, the directory, in this order."""
    if name := project.given_name(request, found.variables):
        return name
    for document in reversed(documents):
        node = document.get("name") if isinstance(document, Mapping) else None
        if node is not None and not is_null(node) and node.tag != "!reset":
            return _file_name(node, found)
    return project.directory_name(found.directory)


def _file_name(node: Node, found: _Project) -> str:
    where = Place(*node.mark)
    if not isinstance(node, Scalar) or not isinstance(node.value, str):
        raise StackFileError(f"name must be text, not {kind(node)}", place=where)
    try:
        name = substitute(node.value, found.variables.get)
    except TemplateError as error:
        raise StackFileError(error.brief, place=where, hint=error.hint) from None
    if not project.normalized(name):
        raise StackFileError(
            f'"{name[:60]}" is no project name', place=where, hint=project.NAME_RULE
        )
    return project.normalized(name)


def read_text(source: Files, path: str, limit: int = yaml.BUDGET.size) -> str:
    """A file as text, of at most `limit` bytes. Raises StackFileError."""
    try:
        content = source.read(path, limit + 1)
    except FileNotFoundError:
        raise StackFileError(f"there is no file {path}") from None
    except IsADirectoryError:
        raise StackFileError(f"{path} is a directory", hint="name the file in it") from None
    except OSError as error:
        raise StackFileError(f"{path} cannot be read: {error.strerror}") from None
    if len(content) > limit:
        raise yaml.too_large(path, limit)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise StackFileError("the file is not UTF-8 text", place=Place(path, line)) from None


def _digest(source: Files, path: str) -> str:
    if not source.is_file(path):
        return ""
    import hashlib  # brings OpenSSL

    try:
        return hashlib.sha256(source.read(path, _COPY_SIZE)).hexdigest()
    except OSError:
        return ""  # whoever makes the copy says so


def read_env_file(
    source: Files,
    path: str,
    raw: bool,
    variables: Variables[str, str],
    unset: dotenv.Unset | None = None,
) -> dict[str, str] | None:
    """A service's environment file; None when it does not exist. Raises StackFileError.

    `unset` is told of variables in it that nobody has set.
    """
    if not source.exists(path):
        return None
    text = read_text(source, path, _ENV_SIZE)
    if raw:
        return dotenv.parse_raw(text, path, variables.get)
    return dotenv.parse(text, path, variables.get, unset)
