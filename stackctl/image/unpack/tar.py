"""Tar archives as entries: ustar, GNU and pax headers, with GNU's and pax' sparse files.

Format: POSIX.1-2017 pax, and GNU tar's manual ("Basic Tar Format", "Storing
Sparse Files"). Names stay bytes. Global pax headers are read over: nothing
that makes layers needs them, and they would apply to what follows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field

from stackctl.image.unpack.failure import BadLayer
from stackctl.image.unpack.stream import Source
from stackctl.values import dataclass

BLOCK = 512
_ZERO = bytes(BLOCK)
#: Bytes of one extended header or long name.
_LONGEST_HEADER = 1 << 20
_MAX_SPARSE = 1 << 16
_NUL = b"\0"


@dataclass(slots=True)
class Entry:
    """One entry; `kind` is the type flag (b"0" for all that are plain files).

    `stored` bytes of content follow in the archive. With `sparse`, (offset, length)
    pairs say where they belong in a file of `size` bytes.
    """

    name: bytes
    kind: bytes
    mode: int
    uid: int
    gid: int
    size: int
    stored: int
    mtime: int  # nanoseconds
    link: bytes = b""
    major: int = 0
    minor: int = 0
    xattrs: dict[bytes, bytes] = field(default_factory=dict)
    sparse: list[tuple[int, int]] | None = None


def entries(source: Source) -> Iterator[Entry]:
    """All entries; the caller takes `stored` bytes (and `padding`) before the next one."""
    pax: dict[bytes, bytes] = {}
    name = link = b""
    while header := source.take(BLOCK):
        if len(header) < BLOCK:
            raise BadLayer("it ends in the middle of a header")
        if header == _ZERO:
            if source.take(BLOCK) in (_ZERO, b""):
                return
            raise BadLayer("a single empty block is followed by more")
        _check_sum(header)
        kind = header[156:157]
        size = number(header[124:136])
        if kind in b"xgLKX" and kind != b"":
            content = _extension(source, size)
            if kind == b"x" or kind == b"X":
                pax = records(content)
            elif kind == b"L":
                name = content.split(_NUL, 1)[0]
            elif kind == b"K":
                link = content.split(_NUL, 1)[0]
            continue
        entry = _entry(header, kind, size, name, link)
        if kind == b"S":
            _old_sparse(source, header, entry)
        if pax:
            _apply(entry, pax, source)
        pax, name, link = {}, b"", b""
        yield entry


def padding(size: int) -> int:
    return -size % BLOCK


def number(raw: bytes) -> int:
    """Octal text, or GNU's base 256."""
    if raw[0] & 0x80:
        value = int.from_bytes(raw, "big")
        bits = 8 * len(raw)
        if raw[0] == 0xFF:
            return value - (1 << bits)
        return value & ((1 << (bits - 1)) - 1)
    try:
        return int(raw.split(_NUL, 1)[0].strip() or b"0", 8)
    except ValueError:
        raise BadLayer(f"a header has {raw[:12]!r} for a number") from None


def records(content: bytes) -> dict[bytes, bytes]:
    """The records of an extended header: "<length> <key>=<value>\\n" each."""
    found: dict[bytes, bytes] = {}
    position = 0
    while position < len(content):
        space = content.find(b" ", position, position + 12)
        digits = content[position:space]
        if space < 0 or not digits.isdigit():
            if not content[position:].strip(_NUL):
                break
            raise BadLayer("an extended header is malformed")
        end = position + int(digits)
        key, equals, value = content[space + 1 : end - 1].partition(b"=")
        if end <= space or end > len(content) or content[end - 1 : end] != b"\n" or not equals:
            raise BadLayer("an extended header is malformed")
        if key in (b"GNU.sparse.offset", b"GNU.sparse.numbytes"):
            # Format 0.0 repeats these; together they are format 0.1's map.
            before = found.get(b"GNU.sparse.map")
            value = value if before is None else before + b"," + value
            key = b"GNU.sparse.map"
        found[key] = value
        position = end
    return found


def _extension(source: Source, size: int) -> bytes:
    if not 0 <= size <= _LONGEST_HEADER:
        raise BadLayer(f"an extended header has {size} bytes")
    content = source.take(size)
    if len(content) != size:
        raise BadLayer("it ends in the middle of a header")
    source.skip(padding(size))
    return content


def _entry(header: bytes, kind: bytes, size: int, name: bytes, link: bytes) -> Entry:
    if not name:
        name = header[:100].split(_NUL, 1)[0]
        # GNU's header has other things where POSIX's has the prefix.
        if header[257:263] == b"ustar\0" and header[345]:
            name = header[345:500].split(_NUL, 1)[0] + b"/" + name
    if kind in (b"\0", b"0", b"7", b""):
        # An old archive's directory is a file with a slash at its end.
        kind = b"5" if name.endswith(b"/") else b"0"
    if size < 0:
        raise BadLayer("an entry has a negative size")
    has_content = kind in (b"0", b"S") or kind not in (b"1", b"2", b"3", b"4", b"5", b"6")
    return Entry(
        name=name,
        kind=kind,
        mode=number(header[100:108]) & 0o7777,
        uid=number(header[108:116]),
        gid=number(header[116:124]),
        size=size,
        stored=size if has_content else 0,
        mtime=number(header[136:148]) * 1_000_000_000,
        link=link or header[157:257].split(_NUL, 1)[0],
        major=number(header[329:337]) if kind in (b"3", b"4") else 0,
        minor=number(header[337:345]) if kind in (b"3", b"4") else 0,
    )


def _check_sum(header: bytes) -> None:
    expected = number(header[148:156])
    # The sum's own field counts as spaces.
    total = sum(header) - sum(header[148:156]) + 8 * 32
    if total != expected:
        signed = total - 256 * sum(
            1 for i, b in enumerate(header) if b > 127 and not 148 <= i < 156
        )
        if signed != expected:
            raise BadLayer("a header's checksum is wrong")


def _apply(entry: Entry, pax: dict[bytes, bytes], source: Source) -> None:
    for key, value in pax.items():
        if key == b"path":
            entry.name = value
        elif key == b"linkpath":
            entry.link = value
        elif key == b"size":
            entry.size = _decimal(value)
            entry.stored = entry.size if entry.stored or entry.kind == b"0" else 0
        elif key == b"uid":
            entry.uid = _decimal(value)
        elif key == b"gid":
            entry.gid = _decimal(value)
        elif key == b"mtime":
            entry.mtime = _nanoseconds(value)
        elif key.startswith(b"SCHILY.xattr."):
            entry.xattrs[key[13:]] = value
    if _NUL in entry.name or _NUL in entry.link:
        raise BadLayer("a name has a null byte")
    if b"GNU.sparse.major" in pax or b"GNU.sparse.map" in pax or b"GNU.sparse.realsize" in pax:
        _pax_sparse(entry, pax, source)


def _pax_sparse(entry: Entry, pax: dict[bytes, bytes], source: Source) -> None:
    entry.name = pax.get(b"GNU.sparse.name", entry.name)
    real = pax.get(b"GNU.sparse.realsize", pax.get(b"GNU.sparse.size", b""))
    if b"GNU.sparse.map" in pax:
        numbers = [_decimal(text) for text in pax[b"GNU.sparse.map"].split(b",") if text]
    else:
        numbers = _sparse_map(entry, source)
    entry.size = _decimal(real) if real else entry.size
    _set_sparse(entry, numbers)


def _sparse_map(entry: Entry, source: Source) -> list[int]:
    """Format 1.0: the map is at the beginning of the content, in whole blocks."""
    text, lines, wanted = b"", [b""], 1
    while len(lines) - 1 < wanted:
        if entry.stored < BLOCK or len(text) > _LONGEST_HEADER:
            raise BadLayer("a sparse file has no map")
        text += source.take(BLOCK)
        entry.stored -= BLOCK
        lines = text.split(b"\n")
        if len(lines) > 1:
            wanted = 1 + 2 * _decimal(lines[0])
    return [_decimal(line) for line in lines[1:wanted]]


def _old_sparse(source: Source, header: bytes, entry: Entry) -> None:
    numbers: list[int] = []
    _old_map(header[386:482], numbers)
    extended = header[482]
    entry.size = number(header[483:495])
    while extended:
        block = source.take(BLOCK)
        if len(block) < BLOCK or len(numbers) > 2 * _MAX_SPARSE:
            raise BadLayer("a sparse file's map is malformed")
        _old_map(block[:504], numbers)
        extended = block[504]
    entry.kind = b"0"
    _set_sparse(entry, numbers)


def _old_map(raw: bytes, numbers: list[int]) -> None:
    for at in range(0, len(raw), 24):
        if raw[at] == 0:
            return
        numbers += (number(raw[at : at + 12]), number(raw[at + 12 : at + 24]))


def _set_sparse(entry: Entry, numbers: list[int]) -> None:
    pairs = list(zip(numbers[::2], numbers[1::2], strict=False))
    end = total = 0
    for offset, length in pairs:
        if offset < end or length < 0 or offset + length > entry.size:
            raise BadLayer("a sparse file's map is malformed")
        end = offset + length
        total += length
    if len(numbers) % 2 or len(pairs) > _MAX_SPARSE or total > entry.stored:
        raise BadLayer("a sparse file's map is malformed")
    entry.sparse = pairs


def _decimal(value: bytes) -> int:
    if not value.isdigit() or len(value) > 20:
        raise BadLayer(f"an extended header has {value[:20]!r} for a number")
    return int(value)


def _nanoseconds(value: bytes) -> int:
    sign = -1 if value.startswith(b"-") else 1
    whole, _, fraction = value.lstrip(b"-").partition(b".")
    if (fraction and not fraction.isdigit()) or len(whole) > 20:
        raise BadLayer("an extended header has a malformed time")
    return sign * (
        _decimal(whole or b"0") * 1_000_000_000 + int((fraction[:9] or b"0").ljust(9, b"0"))
    )
