"""Stack files with all that they bring along -> one canonical tree.

    read -> interpolate -> canonical -> include -> extends -> merge

Opens nothing itself: files come through the functions it is given. What is
written in other files (`include`, `extends` with a file) has its relative paths
made absolute here, because they start at that file's own directory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from collections.abc import Mapping as Variables
from dataclasses import field
from posixpath import basename, dirname, join

from stackctl.errors import StackFileError
from stackctl.spec import included, merge, paths, project
from stackctl.spec.interpolate import Interpolation
from stackctl.spec.mistakes import Mistakes, did_you_mean
from stackctl.spec.nodes import (
    Mapping,
    Mark,
    Node,
    Scalar,
    Sequence,
    is_null,
    kind,
    place,
    plain,
    size,
)
from stackctl.spec.shape import Shape
from stackctl.values import dataclass

# Every file may name others; what a stack needs is far below this.
_MOST_FILES = 500
_DEEPEST = 50
#: Sections that an included project brings along.
_IMPORTED = ("services", "networks", "volumes", "secrets", "configs", "models")

#: The documents of a file. Raises StackFileError.
Read = Callable[[str], list[Node]]
#: Environment files and what they may refer to -> variables, the latter over the former.
ReadVariables = Callable[[Iterable[str], Variables[str, str]], dict[str, str]]


@dataclass(frozen=True, slots=True)
class Document:
    """One YAML document and the file it is in."""

    file: str
    node: Node


@dataclass(slots=True)
class _Scope:
    """Services that may extend each other by name alone: those of one document."""

    file: str
    #: Where relative paths in it start.
    directory: str
    services: dict[str, Node]
    #: Where a name is looked for that is not here: what comes before the document.
    before: Node | None = None
    done: dict[str, Node] = field(default_factory=dict)


class Documents:
    """One load's files. Mistakes are collected; what is wrong is left out."""

    def __init__(
        self,
        rules: Shape,
        read: Read,
        read_variables: ReadVariables,
        is_readable: Callable[[str], bool],
        mistakes: Mistakes,
        *,
        interpolate: bool = True,
    ) -> None:
        self._rules = rules
        self._service = rules.below("services").below("")
        self._read = read
        self._read_variables = read_variables
        self._is_readable = is_readable
        self._mistakes = mistakes
        self._interpolate = interpolate
        self._told: set[str] = set()
        #: Secrets and configs that are variables of included projects.
        self.given: included.Given = {}
        #: What the files that others name were filled in with: an included project has its own.
        self.filled_with: dict[str, Variables[str, str]] = {}
        self._files = 0
        #: By path and by what it is filled in with (one object in all of a project's files).
        self._scopes: dict[tuple[str, int], _Scope | None] = {}

    def tree(
        self,
        documents: Iterable[Document],
        directory: str,
        variables: Variables[str, str],
        trail: tuple[str, ...] = (),
    ) -> Node | None:
        """All documents of a project, merged; None when all are empty. No tags are left."""
        root: Node | None = None
        for document in documents:
            if is_null(document.node):
                continue
            tree = self._canonical(document.node, variables)
            if isinstance(tree, Mapping) and "include" in tree.entries:
                tree, included = self._include(tree, directory, variables, (*trail, document.file))
                root = self._over(root, included)
            if isinstance(tree, Mapping):
                tree = self._extend(tree, document.file, directory, variables, root)
            root = self._over(root, tree)
        return root

    def _canonical(self, node: Node, variables: Variables[str, str]) -> Node:
        if not self._interpolate:
            return merge.canonical(node, self._rules, self._mistakes, lenient=True)
        interpolation = Interpolation(variables.get, self._mistakes, told=self._told)
        return merge.canonical(interpolation.tree(node), self._rules, self._mistakes)

    def _over(self, base: Node | None, over: Node | None) -> Node | None:
        if over is None:
            return base
        if base is None:
            return merge.cleaned(over)
        return merge.merge(base, over, self._rules, self._mistakes)

    def _open(
        self, file: str, mark: Mark, what: str, variables: Variables[str, str]
    ) -> list[Node] | None:
        """The documents of a file that another one names; None when that is a mistake."""
        self.filled_with.setdefault(file, variables)
        if file.startswith(project.REMOTE):
            self._mistakes.add(f"{what} {file} {project.ELSEWHERE}", mark, hint=project.FETCH)
            return None
        self._files += 1
        if self._files > _MOST_FILES:
            raise StackFileError(f"more than {_MOST_FILES} files are included", place=place(mark))
        try:
            return self._read(file)
        except StackFileError as error:
            self._mistakes.collect(error, mark)
            return None

    def _only(self, node: Mapping, known: Iterable[str], where: str) -> None:
        """Says which keys of a mapping have no meaning."""
        for key in node.entries:
            if key not in known and not key.startswith("x-"):
                hint = did_you_mean(key, known)
                mark = node.key_marks[key]
                self._mistakes.add(f'unknown key "{key}" in {where}', mark, hint=hint)

    # -- include

    def _include(
        self, tree: Mapping, directory: str, variables: Variables[str, str], trail: tuple[str, ...]
    ) -> tuple[Mapping, Node | None]:
        """The tree without `include`, and what that brings along."""
        written = tree.entries["include"]
        if not isinstance(written, Sequence):
            return tree, None
        root: Node | None = None
        for item in written.items:
            found = self._included(item, directory, variables, trail)
            if isinstance(found, Mapping):
                root = self._import(root, found)
        return _without(tree, "include"), root

    def _import(self, root: Node | None, found: Mapping) -> Node:
        """Adds a project's resources; one that is there already in the same words stays one."""
        sections: dict[str, Node] = {}
        for section in _IMPORTED:
            node = found.get(section)
            if not isinstance(node, Mapping):
                continue
            known = root.get(section) if isinstance(root, Mapping) else None
            if isinstance(known, Mapping):
                items = {k: v for k, v in node.entries.items() if not _same(known.get(k), v)}
                node = Mapping(items, node.key_marks, node.mark)
            sections[section] = node
        added = Mapping(sections, found.key_marks, found.mark)
        return added if root is None else merge.merge(root, added, self._rules, self._mistakes)

    def _included(
        self, item: Node, directory: str, variables: Variables[str, str], trail: tuple[str, ...]
    ) -> Node | None:
        if not isinstance(item, Mapping):
            brief = f"an include is a file or a mapping, not {kind(item)}"
            self._mistakes.add(brief, item.mark, hint="- path: FILE")
            return None
        self._only(item, ("path", "project_directory", "env_file"), "include")
        names = self._named(item, "path")
        if names is None:
            return None
        if not names:
            self._mistakes.add("an include names no file", item.mark, hint="- path: FILE")
            return None
        mark = item.mark
        files = [_local(name, directory, variables) for name in names]
        own = self._named(item, "project_directory")
        base = paths.absolute(own[0], directory, variables) if own else dirname(files[0])
        if circle := [file for file in files if file in trail]:
            way = " -> ".join(basename(file) for file in (*trail, circle[0]))
            self._mistakes.add(f"files include each other in a circle: {way}", mark)
            return None
        if len(trail) > _DEEPEST:
            self._mistakes.add(f"includes are nested deeper than {_DEEPEST} levels", mark)
            return None
        env_files = self._named(item, "env_file") or ()
        named = [paths.absolute(name, directory, variables) for name in env_files]
        default = join(base, ".env")
        try:
            inner = self._read_variables(
                named or ((default,) if self._is_readable(default) else ()), variables
            )
        except StackFileError as error:
            self._mistakes.collect(error, mark)
            self._mistakes.unread = True
            return None
        documents: list[Document] = []
        for file in files:
            opened = self._open(file, mark, "the file", inner)
            self._mistakes.unread |= opened is None
            documents += (Document(file, node) for node in opened or ())
        # The files of one include merge: none of them is inside another.
        found = self.tree(documents, base, inner, (*trail, *files[:-1]))
        if isinstance(found, Mapping):
            self._only(found, self._rules.fields or (), f"the top level of {files[0]}")
            if self._interpolate:
                found = included.filled(found, inner, variables, self.given)
        return paths.rebase(found, self._rules, base, inner) if found is not None else None

    def _named(self, item: Mapping, key: str) -> list[str] | None:
        """The paths below a key of an include; None when one is none, which is a mistake then."""
        node = item.get(key)
        if node is None or is_null(node):
            return []
        parts = node.items if isinstance(node, Sequence) else [node]
        wrong = [part for part in parts if not (isinstance(part, Scalar) and part.value)]
        wrong += [p for p in parts if isinstance(p, Scalar) and not isinstance(p.value, str)]
        for part in wrong:
            what = "nothing" if isinstance(part, Scalar) and not part.value else kind(part)
            self._mistakes.add(f"{key} of include must be a path, not {what}", part.mark)
        return None if wrong else _texts(node)

    # -- extends

    def _extend(
        self,
        tree: Mapping,
        file: str,
        directory: str,
        variables: Variables[str, str],
        before: Node | None,
    ) -> Mapping:
        services = tree.get("services")
        if not isinstance(services, Mapping) or not any(
            isinstance(service, Mapping) and "extends" in service.entries
            for service in services.entries.values()
        ):
            return tree
        scope = _Scope(file, directory, services.entries, before)
        found = {name: self._resolved(name, scope, variables, ()) for name in services.entries}
        return tree.updated({"services": services.with_entries(found)})

    def _resolved(
        self,
        name: str,
        scope: _Scope,
        variables: Variables[str, str],
        trail: tuple[tuple[str, str], ...],
    ) -> Node:
        """A service with all that it extends, itself still carrying its tags.

        One whose base is not there keeps its `extends`: nobody shall miss what the base has.
        """
        if name in scope.done:
            return scope.done[name]
        node = scope.services[name]
        extends = node.get("extends") if isinstance(node, Mapping) else None
        base_name = _texts(extends.get("service")) if isinstance(extends, Mapping) else []
        base_name = [text for text in base_name if text]
        if not isinstance(node, Mapping) or not isinstance(extends, Mapping) or not base_name:
            scope.done[name] = node
            return node
        own = _without(node, "extends")
        base = self._base(name, base_name[0], extends, scope, variables, trail)
        if base is not None:
            self._mistakes.spend(extends.mark, copies=size(base))
            merged = merge.merge(merge.cleaned(base), own, self._service, self._mistakes)
        scope.done[name] = node if base is None else merged
        return scope.done[name]

    def _base(
        self,
        name: str,
        wanted: str,
        extends: Mapping,
        scope: _Scope,
        variables: Variables[str, str],
        trail: tuple[tuple[str, str], ...],
    ) -> Node | None:
        """The service that is extended, its paths as the extending one's scope needs them."""
        self._only(extends, ("service", "file"), f"services.{name}.extends")
        here = (name, scope.file)
        target = _texts(extends.get("file"))
        other = scope
        if target:
            other_scope = self._scope(target[0], scope, variables, extends.mark)
            if other_scope is None:
                return None
            other = other_scope
        next_one = (wanted, other.file)
        if next_one in (*trail, here) or len(trail) > _DEEPEST:
            way = " -> ".join(f"{n} ({basename(f)})" for n, f in (*trail, here, next_one))
            self._mistakes.add(f"services extend each other in a circle: {way}", extends.mark)
            return None
        if wanted in other.services:
            base = self._resolved(wanted, other, variables, (*trail, here))
        else:
            earlier = other.before.get("services") if isinstance(other.before, Mapping) else None
            known = earlier.get(wanted) if isinstance(earlier, Mapping) else None
            if known is None:
                self._mistakes.add(
                    f'service "{name}" extends "{wanted}", which is not in {other.file}',
                    extends.mark,
                    hint=did_you_mean(wanted, [n for n in other.services if n != name]),
                )
                return None
            base = known
        if other.directory != scope.directory:
            base = paths.rebase(base, self._service, other.directory, variables)
        return base

    def _scope(
        self, file: str, scope: _Scope, variables: Variables[str, str], mark: Mark
    ) -> _Scope | None:
        """The services of another file; None when it cannot be read, which is a mistake."""
        path = _local(file, scope.directory, variables)
        if path == scope.file:
            return scope
        key = (path, id(variables))
        if key not in self._scopes:
            self._scopes[key] = self._scope_of(path, variables, mark)
        return self._scopes[key]

    def _scope_of(self, path: str, variables: Variables[str, str], mark: Mark) -> _Scope | None:
        documents = self._open(path, mark, "the file", variables)
        if not documents:
            return None
        services: dict[str, Node] = {}
        for document in documents:
            tree = self._canonical(document, variables)
            found = tree.get("services") if isinstance(tree, Mapping) else None
            if isinstance(found, Mapping):
                services.update(found.entries)
        return _Scope(path, dirname(path), services)


def _local(file: str, directory: str, variables: Variables[str, str]) -> str:
    """The absolute path; what is somewhere else stays as it is written."""
    return file if file.startswith(project.REMOTE) else paths.absolute(file, directory, variables)


def _texts(node: Node | None) -> list[str]:
    """A text, or the texts of a list; nothing else."""
    items = node.items if isinstance(node, Sequence) else [node] if node is not None else []
    return [i.value for i in items if isinstance(i, Scalar) and isinstance(i.value, str)]


def _without(node: Mapping, key: str) -> Mapping:
    return node.with_entries({k: v for k, v in node.entries.items() if k != key})


def _same(one: Node | None, other: Node) -> bool:
    return one is not None and plain(one) == plain(other)
