"""COPY: which files a source means, their fingerprint, and bringing them into a layer.

Follows BuildKit: the content of a directory is copied, not itself; a source that is a
link is followed; files of a context belong to root, those of a stage keep their
owner; times are kept and do not count for the fingerprint.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import threading
from collections.abc import Iterator, Sequence
from dataclasses import field

from stackctl.errors import ImageError
from stackctl.image.build.ignore import Ignore, PatternError, glob, unescaped
from stackctl.image.build.tree import Node, Tree
from stackctl.image.build.upper import Owner, Upper
from stackctl.values import dataclass

#: Digests of files by what tells one state of a file from another.
_REMEMBERED = 200_000


@dataclass(frozen=True, slots=True)
class Source:
    """Where files come from. `title` is for errors."""

    tree: Tree
    title: str
    ignore: Ignore = field(default_factory=Ignore)
    keep_owner: bool = False


@dataclass(frozen=True, slots=True)
class Selected:
    """One source: `name` it gets in a directory, `base` directories kept with --parents."""

    name: str
    node: Node
    base: tuple[Node, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A COPY with all variables expanded. `destination` is absolute."""

    sources: tuple[str, ...]
    destination: str
    #: The destination is a directory, whatever is there.
    into: bool
    owner: Owner | None = None
    chmod: str = ""
    parents: bool = False
    exclude: tuple[str, ...] = ()


class Digests:
    """Digests of file contents, remembered as long as the file's status says it is the same."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, ...], bytes] = {}
        self._lock = threading.Lock()

    def of(self, tree: Tree, node: Node) -> bytes:
        status = node.status
        key = (
            *(status.st_dev, status.st_ino, status.st_size),
            *(status.st_mtime_ns, status.st_ctime_ns),
        )
        found = self._known.get(key)
        if found is None:
            fd = tree.open(node)
            try:
                total = hashlib.sha256()
                while piece := os.read(fd, 1 << 20):
                    total.update(piece)
                found = total.digest()
                after = os.fstat(fd)
            finally:
                os.close(fd)
            if (after.st_mtime_ns, after.st_ctime_ns) == key[3:]:
                with self._lock:
                    if len(self._known) >= _REMEMBERED:
                        self._known.clear()
                    self._known[key] = found
        return found


def select(source: Source, pattern: str, *, parents: bool = False) -> list[Selected]:
    """What a source of COPY means. Raises ImageError when it means nothing."""
    kept = pattern
    if parents and "/./" in f"/{pattern}":
        before, _, kept = f"/{pattern}".partition("/./")
        pattern = f"{before}/{kept}"
    components = [part for part in pattern.split("/") if part not in ("", ".")]
    count = len([part for part in kept.split("/") if part not in ("", ".")])
    # Where what is kept begins; ** is as long as it turns out to be.
    begin = len(components) - count if "**" in components[len(components) - count :] else -count
    try:
        found = list(_expand(source.tree, components, deep=parents))
    except PatternError as error:
        raise ImageError(f"COPY {pattern}: {error}") from None
    shown = [(names, node) for names, node in found if not _is_hidden(source, node)]
    if not shown and not any(glob(part) for part in components):
        hint = (
            f"{source.title}'s .dockerignore leaves it out"
            if found
            else f"paths of COPY are relative to {source.title}, not to the Dockerfile"
        )
        raise ImageError(f"{pattern!r} is not in {source.title}", hint=hint)
    selected = []
    for names, node in shown:
        base = _base(source.tree, names, begin) if parents else ()
        selected.append(Selected(names[-1] if names else "", node, base))
    return selected


def _directories(tree: Tree, way: list[str]) -> Iterator[list[str]]:
    """`way`, and all directories below it; links are not followed."""
    yield way
    top = tree.find("/".join(way))
    if top is not None and top.is_directory:
        for node in tree.walk(top):
            if node.is_directory:
                below = node.path[len(top.path) :].strip("/")
                yield [*way, *below.split("/")]


def _expand(
    tree: Tree, components: Sequence[str], *, deep: bool
) -> Iterator[tuple[list[str], Node]]:
    """(names as matched, node with links followed) for all that match.

    `deep`: a component ** stands for any number of directories, also none.
    """
    ways: list[list[str]] = [[]]
    for component in components:
        if deep and component == "**":
            ways = [longer for way in ways for longer in _directories(tree, way)]
            continue
        regex = glob(component)
        if regex is None:
            ways = [[*way, unescaped(component)] for way in ways]
            continue
        longer = []
        for way in ways:
            above = tree.find("/".join(way))
            if above is not None and above.is_directory:
                names = [name for name in tree.children(above) if regex.fullmatch(name)]
                longer += [[*way, name] for name in names]
        ways = longer
    for way in ways:
        node = tree.find("/".join(way))
        if node is not None:
            yield [part for part in way if part != ".."], node


def _is_hidden(source: Source, node: Node) -> bool:
    if not source.ignore or not node.path or not source.ignore.hides(node.path):
        return False
    # An ignored directory may have something in it that is not.
    return not (node.is_directory and any(True for _ in _entries(source, node, Ignore())))


def _base(tree: Tree, names: Sequence[str], begin: int) -> tuple[Node, ...]:
    """With --parents: the directories above the source that are made as they are there.

    `begin` is the index of the first, or how many are left from there on (negative).
    """
    first = begin if begin >= 0 else len(names) + begin
    nodes = (tree.find("/".join(names[:n])) for n in range(first + 1, len(names)))
    return tuple(node for node in nodes if node is not None and node.is_directory)


def _entries(source: Source, top: Node, exclude: Ignore) -> Iterator[tuple[str, Node]]:
    """(path below `top`, node) of all that is copied, directories before their content."""
    yield from _below(source, top, exclude, "")


def _below(
    source: Source, directory: Node, exclude: Ignore, above: str
) -> Iterator[tuple[str, Node]]:
    for node in source.tree.nodes(directory):
        if stat.S_ISSOCK(node.status.st_mode):
            continue
        path = f"{above}/{node.name}" if above else node.name
        hidden = source.ignore.hides(node.path) if source.ignore else False
        excluded = exclude.hides(path) if exclude else False
        if not hidden and not excluded:
            yield path, node
            if node.is_directory:
                yield from _below(source, node, exclude, path)
        elif node.is_directory:
            if (hidden and source.ignore.hides_all_below(node.path)) or (
                excluded and exclude.hides_all_below(path)
            ):
                continue
            inner = list(_below(source, node, exclude, path))
            if inner:
                yield path, node
                yield from inner


def fingerprint(source: Source, wish: Wish, digests: Digests) -> str:
    """Of everything that the copy would bring: paths, kinds, modes, owners, contents."""
    total = hashlib.sha256()
    exclude = _exclude(wish)

    def add(name: str, node: Node) -> None:
        status = node.status
        owner = (status.st_uid, status.st_gid) if source.keep_owner else (0, 0)
        if node.is_file:
            content = digests.of(source.tree, node)
        elif node.is_link:
            content = os.fsencode(source.tree.link_target(node))
        else:
            content = b"%d" % status.st_rdev
        head = f"{name}\0{status.st_mode:o}\0{owner}\0{len(content)}\0"
        total.update(os.fsencode(head) + content)
        if node.is_file and source.keep_owner:
            total.update(repr(sorted(source.tree.xattrs(node).items())).encode())

    for pattern in wish.sources:
        for each in select(source, pattern, parents=wish.parents):
            for node in each.base:
                add(f"^{node.path}", node)
            add(f">{each.name if not each.node.is_directory or wish.parents else ''}", each.node)
            if each.node.is_directory:
                for path, node in _entries(source, each.node, exclude):
                    add(path, node)
    return total.hexdigest()


def perform(source: Source, wish: Wish, upper: Upper) -> None:
    """Raises ImageError for what cannot be copied, OSError from the file system."""
    exclude = _exclude(wish)
    chosen = [s for p in wish.sources for s in select(source, p, parents=wish.parents)]
    if len(chosen) > 1 and not wish.into:
        raise ImageError(
            f"several files match, and {wish.destination} is no directory",
            hint=f"write it with a slash at its end: {wish.destination}/",
        )
    copier = _Copier(source, wish, upper, exclude)
    for each in chosen:
        copier.copy(each)


class _Copier:
    def __init__(self, source: Source, wish: Wish, upper: Upper, exclude: Ignore) -> None:
        self._source = source
        self._wish = wish
        self._upper = upper
        self._exclude = exclude
        self._new = wish.owner or Owner()
        #: Where a file with several names was put first: the others become links to it.
        self._first: dict[tuple[int, int], tuple[Node, str]] = {}
        self._names: dict[tuple[str, str], tuple[int, int]] = {}

    def copy(self, each: Selected) -> None:
        wish, upper = self._wish, self._upper
        node = each.node
        if wish.parents:
            place = upper.directory(wish.destination, self._new)
            for above in each.base:
                place = upper.merge(
                    place, above.name, self._source.tree, above, *self._attributes(above)
                )
            if node.is_directory:
                if each.name:
                    attributes = self._attributes(node)
                    place = upper.merge(place, each.name, self._source.tree, node, *attributes)
                self._content(node, place)
            elif not self._exclude.hides(each.name):
                self._put(place, each.name, node)
            return
        if node.is_directory:
            self._content(node, upper.directory(wish.destination, self._new))
            return
        if self._exclude and self._exclude.hides(each.name):
            return
        directory, name = upper.place_for(wish.destination, each.name, wish.into, self._new)
        self._put(directory, name, node)

    def _content(self, directory: Node, place: Node) -> None:
        places = {"": place}
        made: list[tuple[Node, Node]] = []
        for path, node in _entries(self._source, directory, self._exclude):
            above, _, name = path.rpartition("/")
            parent = places[above]
            if node.is_directory:
                attributes = self._attributes(node)
                new = self._upper.merge(parent, name, self._source.tree, node, *attributes)
                places[path] = new
                made.append((new, node))
            else:
                self._put(parent, name, node)
        for new, node in reversed(made):
            self._upper.set_time(new, node.status)

    def _put(self, parent: Node, name: str, node: Node) -> None:
        status = node.status
        identity = (status.st_dev, status.st_ino)
        shared = node.is_file and status.st_nlink > 1
        first = self._first.get(identity) if shared else None
        if first is not None and self._upper.link(parent, name, *first):
            return
        # A name that a later source takes over stands for the earlier file no more.
        self._first.pop(self._names.pop((parent.path, name), (0, 0)), None)
        if shared:
            self._first[identity] = (parent, name)
            self._names[(parent.path, name)] = identity
        self._upper.put(parent, name, self._source.tree, node, *self._attributes(node))

    def _attributes(self, node: Node) -> tuple[Owner, int]:
        status = node.status
        owner = self._wish.owner
        if owner is None and self._source.keep_owner:
            owner = Owner(status.st_uid, status.st_gid)
        mode = stat.S_IMODE(status.st_mode)
        if self._wish.chmod and not node.is_link:
            mode = changed_mode(mode, self._wish.chmod, is_directory=node.is_directory)
        return owner or Owner(), mode


def _exclude(wish: Wish) -> Ignore:
    try:
        return Ignore(wish.exclude)
    except PatternError as error:
        raise ImageError(f"--exclude: {error}") from None


_CLAUSE = re.compile(r"([ugoa]*)((?:[-+=][rwxXst]*)+)")
_ACTION = re.compile(r"([-+=])([rwxXst]*)")
_SHIFT = {"u": 6, "g": 3, "o": 0}
_BIT = {"r": 4, "w": 2, "x": 1}


def changed_mode(mode: int, change: str, *, is_directory: bool) -> int:
    """`mode` after chmod(1)'s "755" or "u=rw,go+X". Raises ImageError."""
    if re.fullmatch(r"[0-7]{1,5}", change):
        return int(change, 8) & 0o7777
    for clause in change.split(","):
        found = _CLAUSE.fullmatch(clause)
        if found is None:
            raise ImageError(f"--chmod={change[:40]!r} is not a mode")
        who = "ugo" if not found[1] or "a" in found[1] else found[1]
        for action, letters in _ACTION.findall(found[2]):
            mode = _apply(mode, who, action, letters, is_directory=is_directory)
    return mode


def _apply(mode: int, who: str, action: str, letters: str, *, is_directory: bool) -> int:
    bits = 0
    mask = 0
    executable = is_directory or mode & 0o111
    for each in who:
        shift = _SHIFT[each]
        mask |= 7 << shift
        for letter in letters:
            if letter in _BIT:
                bits |= _BIT[letter] << shift
            elif letter == "X" and executable:
                bits |= 1 << shift
            elif letter == "s" and each in "ug":
                bits |= 0o4000 if each == "u" else 0o2000
            elif letter == "t":
                bits |= 0o1000
    if action == "+":
        return mode | bits
    if action == "-":
        return mode & ~bits
    return (mode & ~mask) | bits
