"""Patterns, trees of layers, copying into a layer: all on plain directories, as any user."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stackctl.errors import ImageError
from stackctl.image.build import copying
from stackctl.image.build.copying import Digests, Source, Wish, changed_mode, fingerprint, perform
from stackctl.image.build.ignore import Ignore, PatternError, read
from stackctl.image.build.tree import Tree
from stackctl.image.build.upper import Owner, Upper

ME = Owner(os.getuid(), os.getgid())

# -- .dockerignore


@pytest.mark.parametrize(
    ("patterns", "path", "hidden"),
    [
        ("a", "a", True),
        ("a", "a/b/c", True),
        ("a", "b/a", False),
        ("/a/", "a", True),
        ("./a", "a", True),
        ("*.log", "x.log", True),
        ("*.log", "d/x.log", False),
        ("**/*.log", "x.log", True),
        ("**/*.log", "a/b/x.log", True),
        ("a/**", "a/b/c", True),
        ("a/**/z", "a/z", True),
        ("a/**/z", "a/b/c/z", True),
        ("a/?", "a/b", True),
        ("a?b", "a/b", False),
        ("[a-c]x", "bx", True),
        ("[^a-c]x", "bx", False),
        ("\\*", "*", True),
        ("\\*", "a", False),
        ("*\n!a", "a", False),
        ("!a\n*", "a", True),
        ("a\n!a/b", "a/b", False),
        ("a\n!a/b", "a/c", True),
        ("*\n!d/**", "d/e", False),
        ("# a\na", "a", True),
        ("..", "a", False),
    ],
)
def test_patterns(patterns: str, path: str, hidden: bool) -> None:
    assert Ignore(read(patterns.encode())).hides(path) is hidden


@pytest.mark.parametrize("pattern", ["[a", "[]", "[b-a]", "a\\", "!"])
def test_patterns_that_cannot_be(pattern: str) -> None:
    with pytest.raises(PatternError):
        Ignore([pattern])


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="ab*?[]!^-\\/.", max_size=12), st.text(alphabet="ab/", max_size=8))
def test_any_pattern_matches_or_is_refused(pattern: str, path: str) -> None:
    try:
        Ignore([pattern]).hides(path)
    except PatternError:
        pass


# -- trees


@pytest.fixture
def layer(tmp_path: Path) -> Callable[[str, dict[str, str]], Path]:
    """Makes a directory of files; "-> x" is a link, "d/" a directory."""

    def make(name: str, files: dict[str, str]) -> Path:
        root = tmp_path / name
        root.mkdir(exist_ok=True)
        for path, content in files.items():
            target = root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            if path.endswith("/"):
                target.mkdir(exist_ok=True)
            elif content.startswith("-> "):
                target.symlink_to(content[3:])
            else:
                target.write_text(content)
        return root

    return make


def content(tree: Tree, path: str) -> str:
    node = tree.find(path)
    assert node is not None, path
    return tree.read(node, 1000).decode()


def test_upper_layers_win_and_directories_merge(layer: Callable[..., Path]) -> None:
    low = layer("low", {"d/a": "low a", "d/b": "low b", "f": "low f", "g": "low g"})
    high = layer("high", {"d/b": "high b", "d/c": "high c", "f/x": "high x"})
    with Tree([high, low]) as tree:
        assert content(tree, "d/a") == "low a"
        assert content(tree, "d/b") == "high b"
        assert content(tree, "f/x") == "high x"
        top = tree.find("d")
        assert top is not None and tree.children(top) == ["a", "b", "c"]
        assert [n.path for n in tree.walk(tree.root)] == [
            *("d", "d/a", "d/b", "d/c", "f", "f/x", "g"),
        ]
        assert tree.find("no") is None
        with pytest.raises(NotADirectoryError):
            tree.find("g/x")


def test_an_opaque_directory_hides_what_is_below(layer: Callable[..., Path]) -> None:
    low = layer("low", {"d/a": "low"})
    high = layer("high", {"d/b": "high"})
    os.setxattr(high / "d", "user.overlay.opaque", b"y")
    with Tree([high, low]) as tree:
        top = tree.find("d")
        assert top is not None and tree.children(top) == ["b"]
        assert tree.find("d/a") is None


def test_links_stay_in_the_tree(layer: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    root = layer(
        "root",
        {
            "etc/in": "inside",
            "abs": "-> /etc/in",
            "up": "-> ../../../etc/in",
            "out": f"-> {tmp_path}/secret",
            "loop": "-> loop",
            "dir": "-> etc",
        },
    )
    with Tree([root], plain=True) as tree:
        assert content(tree, "abs") == content(tree, "up") == content(tree, "dir/in") == "inside"
        assert tree.find("out") is None
        assert tree.find("out", follow=False) is not None
        with pytest.raises(OSError, match="loop"):
            tree.find("loop")
        assert content(tree, "../../etc/../etc/in") == "inside"


def test_a_mount_lies_below_what_the_layers_have(layer: Callable[..., Path]) -> None:
    host = layer("host", {"bin/tool": "host", "bin/other": "host"})
    skeleton = layer("skeleton", {"usr/": "", "etc/x": "x"})
    derived = layer("derived", {"usr/bin/tool": "own"})
    with Tree([derived, skeleton], mounts={"/usr": str(host)}) as tree:
        assert content(tree, "usr/bin/tool") == "own"
        assert content(tree, "usr/bin/other") == "host"
        assert "usr" in tree.children(tree.root)


def test_a_fifo_does_not_hang(layer: Callable[..., Path]) -> None:
    root = layer("root", {"a": "a"})
    with Tree([root], plain=True) as tree:
        node = tree.find("a")
        assert node is not None
        (root / "a").unlink()
        os.mkfifo(root / "a")
        with pytest.raises(OSError, match="regular file"):
            tree.open(node)


# -- COPY


def copied(source: Source, wish: Wish, lower: Path, upper: Path) -> Tree:
    """The tree after a copy; the caller closes it."""
    upper.mkdir(exist_ok=True)
    view = Tree([upper, lower])
    writer = Upper(upper, view)
    try:
        perform(source, wish, writer)
    finally:
        writer.close()
    return view


@pytest.fixture
def context(layer: Callable[..., Path]) -> Path:
    root = layer(
        "context",
        {"a.txt": "a", "b.txt": "b", "d/x": "x", "d/e/y": "y", "way": "-> d", "d/l": "-> x"},
    )
    (root / "d/e").chmod(0o750)
    (root / "a.txt").chmod(0o600)
    return root


@pytest.mark.parametrize(
    ("sources", "destination", "into", "found"),
    [
        (("a.txt",), "/n/f", False, {"n", "n/f"}),
        (("a.txt",), "/n", True, {"n", "n/a.txt"}),
        (("a.txt",), "/have", False, {"have/a.txt"}),
        (("*.txt",), "/n", True, {"n", "n/a.txt", "n/b.txt"}),
        (("d",), "/n", False, {"n", "n/x", "n/e", "n/e/y", "n/l"}),
        (("way",), "/n", False, {"n", "n/x", "n/e", "n/e/y", "n/l"}),
        (("d/e", "a.txt"), "/n", True, {"n", "n/y", "n/a.txt"}),
        (("/d/../a.txt",), "/link", True, {"have/a.txt"}),
    ],
)
def test_where_things_go(
    layer: Callable[..., Path],
    context: Path,
    tmp_path: Path,
    sources: tuple[str, ...],
    destination: str,
    into: bool,
    found: set[str],
) -> None:
    lower = layer("lower", {"have/old": "old", "link": "-> have"})
    wish = Wish(sources=sources, destination=destination, into=into, owner=ME)
    with Tree([context], plain=True) as tree:
        view = copied(Source(tree, "context"), wish, lower, tmp_path / "upper")
        with view:
            before = {"have", "have/old", "link"}
            assert {n.path for n in view.walk(view.root)} == before | found


def test_modes_and_times_are_kept(
    layer: Callable[..., Path], context: Path, tmp_path: Path
) -> None:
    os.utime(context / "d/e/y", ns=(5, 5_000_000_000))
    wish = Wish(sources=("d",), destination="/n", into=False, owner=ME)
    with Tree([context], plain=True) as tree:
        copied(Source(tree, "context"), wish, layer("lower", {}), tmp_path / "up").close()
    assert stat.S_IMODE((tmp_path / "up/n/e").stat().st_mode) == 0o750
    assert stat.S_IMODE((tmp_path / "up/n").stat().st_mode) == 0o755
    assert (tmp_path / "up/n/e/y").stat().st_mtime_ns == 5_000_000_000
    assert (tmp_path / "up/n/l").readlink() == Path("x")


def test_a_directory_from_below_keeps_its_mode(
    layer: Callable[..., Path], context: Path, tmp_path: Path
) -> None:
    lower = layer("lower", {"p/q/": ""})
    (lower / "p/q").chmod(0o711)
    wish = Wish(sources=("a.txt",), destination="/p/q", into=True, owner=ME)
    with Tree([context], plain=True) as tree:
        copied(Source(tree, "context"), wish, lower, tmp_path / "up").close()
    assert stat.S_IMODE((tmp_path / "up/p/q").stat().st_mode) == 0o711


def test_exclude_and_ignore(layer: Callable[..., Path], context: Path, tmp_path: Path) -> None:
    with Tree([context], plain=True) as tree:
        source = Source(tree, "context", Ignore(["d/*", "!d/e", "*.txt"]))
        wish = Wish(sources=("/",), destination="/n", into=True, owner=ME, exclude=("way",))
        with copied(source, wish, layer("lower", {}), tmp_path / "up") as view:
            assert {n.path for n in view.walk(view.root)} == {"n", "n/d", "n/d/e", "n/d/e/y"}
        with pytest.raises(ImageError, match="is not in context") as caught:
            copying.select(source, "a.txt")
        assert "leaves it out" in caught.value.hint


def test_parents(layer: Callable[..., Path], context: Path, tmp_path: Path) -> None:
    with Tree([context], plain=True) as tree:
        source = Source(tree, "context")
        wish = Wish(
            sources=("d/e/y", "d/./e/y"), destination="/n", into=True, owner=ME, parents=True
        )
        with copied(source, wish, layer("lower", {}), tmp_path / "up") as view:
            found = {n.path for n in view.walk(view.root)}
    assert found == {"n", "n/d", "n/d/e", "n/d/e/y", "n/e", "n/e/y"}


def test_a_file_cannot_take_a_directorys_place(
    layer: Callable[..., Path], context: Path, tmp_path: Path
) -> None:
    lower = layer("lower", {"n/x/in": "in"})
    wish = Wish(sources=("d",), destination="/n", into=False, owner=ME)
    with Tree([context], plain=True) as tree, pytest.raises(IsADirectoryError):
        copied(Source(tree, "context"), wish, lower, tmp_path / "up")


def test_fingerprints_see_contents_and_modes_but_no_times(context: Path) -> None:
    wish = Wish(sources=("d",), destination="/n", into=False)

    def now() -> str:
        with Tree([context], plain=True) as tree:
            return fingerprint(Source(tree, "context"), wish, Digests())

    first = now()
    os.utime(context / "d/x")
    assert now() == first
    (context / "d/x").chmod(0o711)
    second = now()
    assert second != first
    (context / "d/x").write_text("z")
    third = now()
    assert third != second
    (context / "d/x").rename(context / "d/z")
    assert now() != third


@pytest.mark.parametrize(
    ("mode", "change", "result"),
    [
        (0o644, "755", 0o755),
        (0o644, "4711", 0o4711),
        (0o644, "u+x,g=,o-r", 0o700),
        (0o644, "a+X", 0o644),
        (0o744, "a+X", 0o755),
        (0o600, "g=u", None),
        (0o755, "u+s,+t", 0o5755),
    ],
)
def test_symbolic_modes(mode: int, change: str, result: int | None) -> None:
    if result is None:
        with pytest.raises(ImageError):
            changed_mode(mode, change, is_directory=False)
    else:
        assert changed_mode(mode, change, is_directory=False) == result
