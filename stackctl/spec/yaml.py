"""YAML text -> nodes with marks, by YAML 1.2's core schema, within budgets (back to text: emit.py).

The only file that imports a YAML library, and only its event stream: PyYAML's
own loaders recurse (a C stack overflow on deep nesting), resolve YAML 1.1
(22:22 is 1342) and expand merge keys without limit. Events are read one by
one, so hostile input is refused when it passes a budget, not after it has been
read. Refuses: recursive aliases, unknown tags, duplicate keys, keys that are
not scalars.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from stackctl.errors import Place, StackFileError
from stackctl.spec.mistakes import Mistakes
from stackctl.spec.nodes import OVERRIDE, RESET, Mapping, Mark, Node, Scalar, Sequence, Value
from stackctl.values import dataclass


@dataclass(frozen=True, slots=True)
class Budget:
    """What one file may cost. Aliases count as often as they are used."""

    size: int = 10 * 1024 * 1024
    nodes: int = 150_000
    #: Of one list or mapping: what thousands of services need, and no more.
    width: int = 5_000
    documents: int = 1000
    depth: int = 100


BUDGET = Budget()

_CORE = "tag:yaml.org,2002:"
_MERGE = "<<"
#: In the place of a key; told apart from a quoted "<<", which is an ordinary one.
_MERGING = "\0<<"
_NULL = frozenset(("", "~", "null", "Null", "NULL"))
_WORDS: dict[str, Value] = {
    **dict.fromkeys(_NULL, None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
#: What a number begins with.
_FIRST = frozenset("0123456789+-.")
# A leading 0 is octal as well: file modes are written 0440, and Go's reader takes them so.
_NUMBER = re.compile(
    r"""(?: (?P<octal>[-+]?0[oO]?[0-7]+) | (?P<int>[-+]?[0-9]+) | (?P<hex>[-+]?0[xX][0-9a-fA-F]+)
    | (?P<binary>[-+]?0[bB][01]+) | (?P<float>[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?)
    | (?P<infinite>[-+]?\.(inf|Inf|INF)) )\Z""",
    re.VERBOSE,
)
_BASES = {"octal": 8, "int": 10, "hex": 16, "binary": 2}
_NAN = frozenset((".nan", ".NaN", ".NAN"))
_LEAST, _MOST = -(1 << 63), (1 << 64) - 1
# Python refuses to convert longer digit strings; nothing in a stack file needs them.
_MAX_DIGITS = 300


def resolve(text: str) -> Value:
    """The value of a plain scalar, as Go's reader has it.

    That is YAML 1.2.2, section 10.3.2, and more: 0440 is octal, 0b11 a number, and 1_000, too;
    what 64 bits cannot hold is a float.
    """
    if text[:1] not in _FIRST:
        return _WORDS.get(text, text)
    if len(text) > _MAX_DIGITS:
        return text
    digits = text.replace("_", "") if text[0] != "." else text
    found = _NUMBER.match(digits)
    if found is None:
        return float("nan") if text in _NAN else text
    kind = str(found.lastgroup)
    if kind == "float":
        return float(digits)
    if kind == "infinite":
        return float(digits.replace(".", "")) if digits == text else text
    value = int(digits, _BASES[kind])
    return value if _LEAST <= value <= _MOST else float(value)


def compose(text: str, file: str, budget: Budget = BUDGET, *, pure: bool = False) -> list[Node]:
    """All documents of `text`; `file` is the name that marks carry.

    An empty document is a null scalar. `pure` takes the parser that is written
    in Python even where libyaml is there. Raises StackFileError, or
    StackFileErrors for several duplicate keys.
    """
    if len(text) > budget.size:
        raise too_large(file, budget.size)
    if (nul := text.find("\0")) >= 0:
        raise StackFileError("the file holds a NUL byte", place=Place(*_position(text, nul, file)))
    try:
        return _Composer(_parser(text, pure), file, budget).documents()
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(error, text, file) from None
    except yaml.reader.ReaderError as error:
        offset = error.position
        if yaml.__with_libyaml__ and not pure:
            # libyaml counts bytes.
            offset = len(text.encode()[:offset].decode(errors="ignore"))
        where = Place(*_position(text, offset, file))
        raise StackFileError("not valid YAML: a special character", place=where) from None
    except UnicodeError:
        raise StackFileError("the file is not valid Unicode text", place=Place(file)) from None


def too_large(file: str, limit: int) -> StackFileError:
    return StackFileError(f"the file is larger than {limit // 1024 // 1024} MiB", place=Place(file))


def _position(text: str, offset: int, file: str) -> Mark:
    line = text.count("\n", 0, offset) + 1
    return file, line, offset - (text.rfind("\n", 0, offset) + 1) + 1


def _syntax_error(error: yaml.MarkedYAMLError, text: str, file: str) -> StackFileError:
    mark = error.problem_mark or error.context_mark
    if mark and error.context_mark and mark.line >= text.rstrip().count("\n") + 1:
        # It was missed only at the end: what matters is where it began.
        mark = error.context_mark
    where = Place(file, mark.line + 1, mark.column + 1) if mark else Place(file)
    problem = str(error.problem or error.context or "unreadable")
    hint = ""
    lines = text.split("\n")
    line = lines[mark.line] if mark and mark.line < len(lines) else ""
    if "\t" in line[: len(line) - len(line.lstrip())] or "\\t" in problem or "tab" in problem:
        problem = "a tab cannot indent a line"
        hint = "YAML is indented with spaces, never with tabs"
    elif "did not find expected" in problem and "flow" in str(error.context):
        problem = "a bracket is not closed, or a comma is missing"
        if error.context_mark and mark != error.context_mark:
            began = f"{error.context_mark.line + 1}:{error.context_mark.column + 1}"
            problem += f": the list or mapping began at {began}"
        hint = "within brackets, text that has one of [ ] { } , in it needs quotes"
    elif error.context_mark and "did not find expected" in problem:
        since = error.context_mark.line + 1
        problem = "this line does not go on with what stands before it"
        hint = f"compare its indentation with that of line {since}; or a quote or bracket is open"
    elif "cannot start any token" in problem:
        hint = "text that starts with @, %, ` or another sign of YAML's needs quotes"
    elif "end of stream" in problem and "quoted" in str(error.context):
        problem = "a quote is never closed"
    elif "mapping values are not allowed" in problem:
        hint = "a value that contains ': ' needs quotes; or the line is indented too far"
    elif "alias" in problem or "anchor" in problem:
        hint = "text that starts with * or & needs quotes"
    elif error.context and error.context_mark:
        hint = f"{error.context}, which starts at line {error.context_mark.line + 1}"
    return StackFileError(f"not valid YAML: {problem}", place=where, hint=hint)


def _parser(text: str, pure: bool) -> Any:
    """PyYAML's event source: libyaml's when it was built in, else the one in Python."""
    if yaml.__with_libyaml__ and not pure:
        return yaml.CLoader(text)
    return yaml.Loader(text)


@dataclass(slots=True)
class _Anchor:
    node: Node
    nodes: int
    height: int
    #: Of a scalar, as it is written: what it is as a key.
    text: str = ""


class _Open:
    """A collection whose end has not come yet. `node` has what came so far."""

    __slots__ = ("anchor", "before", "height", "key", "merge", "merge_mark", "node")

    def __init__(self, node: Mapping | Sequence, anchor: str | None, before: int) -> None:
        self.node = node
        self.anchor = anchor
        #: Expanded nodes counted when it was opened.
        self.before = before
        self.height = 0
        #: Of a mapping: the key whose value comes next.
        self.key: str | None = None
        #: What its merge key names, and where that key stands.
        self.merge: Node | None = None
        self.merge_mark: Mark | None = None


class _Composer:
    def __init__(self, parser: Any, file: str, budget: Budget) -> None:
        self._parser = parser
        self._file = file
        self._budget = budget
        self._most_nodes = budget.nodes
        self._most_wide = budget.width
        self._mistakes = Mistakes()
        self._anchors: dict[str, _Anchor] = {}
        self._open_anchors: set[str] = set()
        self._nodes = 0
        self._open: list[_Open] = []
        #: The innermost of them.
        self._top: _Open | None = None
        self._root: Node | None = None

    def documents(self) -> list[Node]:
        found: list[Node] = []
        # Asked of each event; names of the function are found sooner.
        next_event = self._parser.get_event
        scalar, begins_mapping, begins_sequence, ends_mapping, ends_sequence = (
            yaml.ScalarEvent,
            yaml.MappingStartEvent,
            yaml.SequenceStartEvent,
            yaml.MappingEndEvent,
            yaml.SequenceEndEvent,
        )
        try:
            while True:
                event = next_event()
                kind = type(event)
                if kind is scalar:
                    self._scalar(event)
                elif kind is begins_mapping or kind is begins_sequence:
                    self._begin(event, kind is begins_mapping)
                elif kind is ends_mapping or kind is ends_sequence:
                    self._end()
                elif kind is yaml.AliasEvent:
                    self._alias(event)
                elif kind is yaml.DocumentEndEvent:
                    if self._root is not None:
                        found.append(self._root)
                    self._root = None
                    self._anchors.clear()
                    if len(found) > self._budget.documents:
                        raise self._fail(
                            f"the file holds more than {self._budget.documents} documents",
                            self._mark(event),
                        )
                elif kind is yaml.StreamEndEvent or event is None:
                    break
        finally:
            self._parser.dispose()
        self._mistakes.raise_any()
        return found

    def _mark(self, event: Any) -> Mark:
        mark = event.start_mark
        return self._file, mark.line + 1, mark.column + 1

    def _fail(self, brief: str, mark: Mark, hint: str = "") -> StackFileError:
        return StackFileError(brief, place=Place(*mark), hint=hint)

    def _too_many(self, mark: Mark) -> StackFileError:
        return self._fail(
            f"the file holds more than {self._budget.nodes} values, aliases expanded", mark
        )

    def _too_deep(self, mark: Mark) -> StackFileError:
        return self._fail(f"nested deeper than {self._budget.depth} levels", mark)

    def _begin(self, event: Any, is_mapping: bool) -> None:
        start = event.start_mark
        mark = (self._file, start.line + 1, start.column + 1)
        self._nodes += 1
        if self._nodes > self._most_nodes:
            raise self._too_many(mark)
        if len(self._open) >= self._budget.depth:
            raise self._too_deep(mark)
        top, tag, anchor = self._top, event.tag, event.anchor
        tag = "" if tag is None else self._collection_tag(tag, is_mapping, mark)
        if top is not None and top.key is None and isinstance(top.node, Mapping):
            raise self._no_key(mark)
        if anchor is not None:
            self._open_anchors.add(anchor)
        node: Mapping | Sequence
        if is_mapping:
            node = Mapping({}, {}, mark, tag, False, bool(tag))
        else:
            node = Sequence([], mark, tag, False, bool(tag))
        self._top = _Open(node, anchor, self._nodes - 1)
        self._open.append(self._top)

    def _no_key(self, mark: Mark) -> StackFileError:
        hint = "an unquoted { or [ starts a mapping or a list"
        return self._fail("a key must be text", mark, hint)

    def _end(self) -> None:
        ended = self._open.pop()
        node, height = ended.node, ended.height + 1
        self._top = self._open[-1] if self._open else None
        if ended.merge is not None:
            assert isinstance(node, Mapping)
            _apply_merge(node, ended.merge, self._mistakes)
        if ended.anchor is not None:
            self._open_anchors.discard(ended.anchor)
            self._anchors[ended.anchor] = _Anchor(node, self._nodes - ended.before, height)
        self._add(node, height)

    def _alias(self, event: Any) -> None:
        mark = self._mark(event)
        name = event.anchor
        if name in self._open_anchors:
            raise self._fail(f"*{name} contains itself", mark)
        anchor = self._anchors.get(name)
        if anchor is None:
            raise self._fail(
                f"*{name} refers to no anchor before it", mark, f"write &{name} where it is defined"
            )
        self._nodes += anchor.nodes
        if self._nodes > self._most_nodes:
            raise self._too_many(mark)
        if len(self._open) + anchor.height > self._budget.depth:
            raise self._too_deep(mark)
        top = self._top
        if top is None or top.key is not None or isinstance(top.node, Sequence):
            self._add(anchor.node, anchor.height)
        elif isinstance(anchor.node, Scalar):
            self._begin_entry(top, top.node, anchor.text, mark)
        else:
            raise self._no_key(mark)

    def _scalar(self, event: Any) -> None:
        start = event.start_mark
        mark = (self._file, start.line + 1, start.column + 1)
        self._nodes += 1
        if self._nodes > self._most_nodes:
            raise self._too_many(mark)
        text, style, top = event.value, event.style, self._top
        if style == '"' and "\0" in text:
            # Only an escape can make one; neither a file's name nor an argument can hold it.
            raise self._fail("a text cannot have a NUL character", mark)
        if top is None or event.tag is not None or event.anchor is not None:
            self._marked_scalar(event, mark)
            return
        key, into = top.key, top.node
        if key is None and isinstance(into, Mapping):
            # A key keeps its text, whatever it would resolve to.
            if text == _MERGE and not style:
                self._begin_merge(top, mark)
            elif text in into.entries:
                self._begin_entry(top, into, text, mark)
            else:
                top.key = text
                into.key_marks[text] = mark
            return
        if "$" in text:
            into.live = True
        # Without a style: without quotes, and no block.
        value = Scalar(text, mark) if style else Scalar(resolve(text), mark, True)
        self._put(value, top, into)

    def _marked_scalar(self, event: Any, mark: Mark) -> None:
        """One with a tag or an anchor, or a document that is one scalar."""
        text, tag, anchor, top = event.value, event.tag, event.anchor, self._top
        key_of = top.node if top is not None and top.key is None else None
        is_merge = text == _MERGE and (event.implicit[0] or tag == _CORE + "merge")
        if tag is None or (is_merge and isinstance(key_of, Mapping)):
            is_plain = not event.style
            value = Scalar(resolve(text) if is_plain else text, mark, is_plain)
        elif tag in (RESET, OVERRIDE) and isinstance(key_of, Mapping):
            hint = f"it belongs behind the key: {_short(text)}: {tag} ..."
            raise self._fail(f"{tag} stands before a key", mark, hint)
        else:
            value = self._tagged(text, tag, mark, not event.style)
        if anchor is not None:
            self._anchors[anchor] = _Anchor(value, 1, 0, text)
        if top is None or not isinstance(key_of, Mapping):
            self._add(value, 0)
        elif is_merge:
            self._begin_merge(top, mark)
        else:
            self._begin_entry(top, key_of, text, mark)

    def _begin_merge(self, top: _Open, mark: Mark) -> None:
        top.key = _MERGING
        if top.merge_mark is not None:
            self._mistakes.add(
                f'the key "{_MERGE}" is given twice',
                mark,
                hint=f"first at {Place(*top.merge_mark)}; a list merges several: <<: [*a, *b]",
            )
        top.merge_mark = mark

    def _begin_entry(self, top: _Open, node: Mapping, key: str, mark: Mark) -> None:
        top.key = key
        if key in node.entries:
            first = Place(*node.key_marks[key])
            self._mistakes.add(f'the key "{key}" is given twice', mark, hint=f"first at {first}")
        node.key_marks[key] = mark

    def _tagged(self, text: str, tag: str, mark: Mark, is_plain: bool) -> Scalar:
        if tag in (RESET, OVERRIDE):
            return Scalar(resolve(text) if is_plain or not text else text, mark, tag=tag)
        if tag in ("!", _CORE + "str"):
            return Scalar(text, mark)
        if tag == _CORE + "null" and text in _NULL:
            return Scalar(None, mark, plain=True)
        value = resolve(text)
        match tag.removeprefix(_CORE), value:
            case ("bool", bool()):
                return Scalar(value, mark, plain=True)
            case ("int", int()) if not isinstance(value, bool):
                return Scalar(value, mark, plain=True)
            case ("float", int() | float()) if not isinstance(value, bool):
                return Scalar(float(value) if abs(value) < 1e300 else value, mark, plain=True)
            case ("bool" | "int" | "float" | "null" as wanted, _):
                raise self._fail(f'"{_short(text)}" is not what its tag !!{wanted} says', mark)
        raise self._unknown_tag(tag, mark)

    def _collection_tag(self, tag: str, is_mapping: bool, mark: Mark) -> str:
        if tag == "!" or tag == _CORE + ("map" if is_mapping else "seq"):
            return ""
        if tag in (RESET, OVERRIDE):
            return tag
        raise self._unknown_tag(tag, mark)

    def _unknown_tag(self, tag: str, mark: Mark) -> StackFileError:
        shown = "!!" + tag.removeprefix(_CORE) if tag.startswith(_CORE) else tag
        return self._fail(
            f"the tag {_short(shown)} has no meaning here", mark, "!reset and !override have one"
        )

    def _add(self, node: Node, height: int) -> None:
        """Puts a node that is no key where the innermost collection goes on."""
        top = self._top
        if top is None:
            self._root = node
            return
        into = top.node
        if height > top.height:
            top.height = height
        if isinstance(node, Scalar):
            if isinstance(node.value, str) and "$" in node.value:
                into.live = True
            if node.tag:
                into.tagged = True
        else:
            into.live |= node.live
            into.tagged |= node.tagged
        self._put(node, top, into)

    def _put(self, node: Node, top: _Open, into: Mapping | Sequence) -> None:
        if isinstance(into, Sequence):
            into.items.append(node)
            if len(into.items) > self._most_wide:
                raise self._too_wide("list", into)
            return
        key, top.key = top.key, None
        assert key is not None
        if key is _MERGING:
            top.merge = node
            return
        into.entries[key] = node
        if len(into.entries) > self._most_wide:
            raise self._too_wide("mapping", into)

    def _too_wide(self, what: str, node: Node) -> StackFileError:
        return self._fail(f"this {what} has more than {self._budget.width} entries", node.mark)


def _apply_merge(node: Mapping, merge: Node, mistakes: Mistakes) -> None:
    """Puts what the merge key names before a mapping's own entries, which win; then the first
    of a list does."""
    sources: list[Mapping] = []
    for source in merge.items if isinstance(merge, Sequence) else [merge]:
        if isinstance(source, Mapping):
            sources.append(source)
        else:
            mistakes.add("<< merges a mapping, or a list of mappings", source.mark)
    entries: dict[str, Node] = {}
    marks: dict[str, Mark] = {}
    for source in (*reversed(sources), node):
        entries.update(source.entries)
        marks.update(source.key_marks)
    node.entries, node.key_marks = entries, marks


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."
