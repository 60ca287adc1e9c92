"""`watch`: which change asks for what, and that no change below a directory is missed."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from stackctl.cli.watching.actions import Watching
from stackctl.cli.watching.rules import Command, Rule, Work, initial, rules_of, work
from stackctl.cli.watching.tree import Tree
from stackctl.errors import NotFound, UsageError
from stackctl.image.build.ignore import Ignore

from .conftest import Cli, FakeClient


def stack_of(**services: Any) -> str:
    return json.dumps({"services": services}).replace("$", "$$")


def rules(directory: Path, **rule: Any) -> list[Rule]:
    raw = {"path": str(directory), "action": "sync", "target": "/app", **rule}
    found, warnings = rules_of(stack_of(web={"develop": {"watch": [raw]}}), [])
    assert not warnings
    return found


@pytest.mark.parametrize(
    ("rule", "path", "target"),
    [
        ({}, "a/b.py", "/app/a/b.py"),
        ({}, "", "/app"),
        ({"ignore": ["a"]}, "a/b.py", None),
        ({"ignore": ["*.py"]}, "a/b.py", "/app/a/b.py"),
        ({"ignore": ["**/*.py"]}, "a/b.py", None),
        ({"ignore": ["a", "!a/b.py"]}, "a/b.py", "/app/a/b.py"),
        ({"include": ["**/*.py"]}, "a/b.py", "/app/a/b.py"),
        ({"include": ["**/*.py"]}, "a/b.js", None),
        ({"include": ["a"]}, "a/b.js", "/app/a/b.js"),
        ({}, ".git/HEAD", None),
        ({}, "a/.b.py.swp", None),
        ({}, "a/b.py~", None),
        ({"action": "rebuild"}, "x", ""),
    ],
)
def test_a_rule_names_the_place_in_the_container(
    tmp_path: Path, rule: dict[str, Any], path: str, target: str | None
) -> None:
    (found,) = rules(tmp_path, **rule)
    assert found.target_of(f"{tmp_path}/{path}".rstrip("/")) == target
    assert found.target_of(f"{tmp_path}-beside/{path}") is None


def test_dockerignore_of_the_build_counts(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / ".dockerignore").write_text("# mine\nsrc/cache\n*.log\n")
    service = {
        "build": {"context": str(tmp_path)},
        "develop": {
            "watch": [{"path": str(tmp_path / "src"), "action": "sync", "target": "/app$1"}]
        },
    }
    ((rule,), _) = rules_of(stack_of(web=service), ["web"])
    assert rule.target_of(f"{tmp_path}/src/a.log") == "/app$1/a.log"
    assert rule.target_of(f"{tmp_path}/src/cache/x") is None
    assert rule.closes(f"{tmp_path}/src/cache") and not rule.closes(f"{tmp_path}/src/other")


def test_what_is_mounted_already_is_not_copied(tmp_path: Path) -> None:
    service = {
        "volumes": [{"type": "bind", "source": str(tmp_path), "target": "/app"}],
        "develop": {
            "watch": [
                {"path": str(tmp_path), "action": "sync", "target": "/app"},
                {"path": str(tmp_path), "action": "restart"},
            ]
        },
    }
    found, warnings = rules_of(stack_of(web=service), [])
    assert [rule.action for rule in found] == ["restart"]
    assert len(warnings) == 1 and "mounted already" in warnings[0]


def test_services_without_rules_are_told() -> None:
    with pytest.raises(UsageError):
        rules_of(stack_of(web={}), [])
    with pytest.raises(NotFound):
        rules_of(stack_of(web={}), ["wbe"])


def test_a_batch_comes_to_each_action_once(tmp_path: Path) -> None:
    base = str(tmp_path)
    command = Command(argv=("reload",))
    every = [
        Rule(service="a", path=f"{base}/a", action="sync+restart", target="/a"),
        Rule(service="b", path=f"{base}/b", action="sync+exec", target="/b", command=command),
        Rule(service="b", path=f"{base}/b/special", action="sync", target="/s"),
        Rule(service="c", path=f"{base}/c", action="sync", target="/c"),
        Rule(service="c", path=f"{base}/c/Dockerfile", action="rebuild"),
        Rule(service="d", path=f"{base}/d", action="restart"),
    ]
    found = work(every, [f"{base}/{p}" for p in ("a/1", "a/2", "b/special", "b/2", "d/1", "e/1")])
    assert found.sync == {
        "a": {f"{base}/a/1": "/a/1", f"{base}/a/2": "/a/2"},
        "b": {f"{base}/b/special": "/s", f"{base}/b/2": "/b/2"},
    }
    assert found.restart == {"a", "d"} and found.execute == {"b": [command]}
    rebuilt = work(every, [f"{base}/c/1", f"{base}/c/Dockerfile"])
    assert rebuilt.rebuild == {"c"} and not rebuilt.sync
    assert not work(every, [f"{base}/nothing"])


def test_initial_sync_brings_all_that_counts(tmp_path: Path) -> None:
    for name in ("a.py", "sub/b.py", "node_modules/big/c.py", ".git/config"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "link").symlink_to("sub")
    found = initial(rules(tmp_path, initial_sync=True, ignore=["node_modules"]))
    assert found == {
        "web": {f"{tmp_path}/{name}": f"/app/{name}" for name in ("a.py", "link", "sub/b.py")}
    }


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[tuple[Tree, Iterator[list[str]], Path]]:
    root = tmp_path / "root"
    (root / "old").mkdir(parents=True)
    (root / "skipped").mkdir()
    tree = Tree([str(root)], lambda path: path.endswith("/skipped"))
    yield tree, tree.batches(), root
    tree.close()


def until(batches: Iterator[list[str]], wanted: Path) -> set[str]:
    """Paths of batches until one is among them: how many batches there are is the kernel's."""
    found: set[str] = set()
    while str(wanted) not in found:
        found |= set(next(batches))
    return found


def test_a_tree_tells_each_change(tree: tuple[Tree, Iterator[list[str]], Path]) -> None:
    _, batches, root = tree
    (root / "old" / "file").write_text("1")
    assert until(batches, root / "old" / "file") == {str(root / "old" / "file")}
    (root / "skipped" / "file").write_text("1")
    (root.parent / "outside").write_text("1")
    deep = root / "new" / "deep"
    deep.mkdir(parents=True)
    (deep / "file").write_text("1")
    found = until(batches, deep / "file")
    assert found == {str(p) for p in (root / "new", deep, deep / "file")}
    (deep / "file").write_text("2")
    assert str(deep / "file") in until(batches, deep / "file")
    (root / "new").rename(root / "moved")
    (root / "moved" / "deep" / "later").write_text("3")
    found = until(batches, root / "moved" / "deep" / "later")
    assert {str(root / "new"), str(root / "moved")} <= found
    assert str(root / "new" / "deep" / "later") not in found
    (root / "old" / "file").unlink()
    assert str(root / "old" / "file") in until(batches, root / "old" / "file")


def test_a_root_that_is_replaced_is_watched_again(
    tree: tuple[Tree, Iterator[list[str]], Path],
) -> None:
    _, batches, root = tree
    root.rename(root.with_name("away"))
    until(batches, root)
    root.mkdir()
    (root / "first").write_text("1")
    until(batches, root / "first")
    (root / "second").write_text("1")
    until(batches, root / "second")


def test_a_tree_can_be_stopped_from_elsewhere(
    tree: tuple[Tree, Iterator[list[str]], Path],
) -> None:
    watched, batches, _ = tree
    threading.Timer(0.05, watched.stop).start()
    assert list(batches) == []


def test_a_root_that_does_not_exist_is_watched_from_when_it_does(tmp_path: Path) -> None:
    root, file = tmp_path / "a" / "b" / "root", tmp_path / "conf"
    with closing(Tree([str(root), str(file)], lambda path: False)) as tree:
        assert tree.missing == [str(root), str(file)]
        batches = tree.batches()
        root.mkdir(parents=True)
        (root / "first").write_text("1")
        (tmp_path / "a" / "other").write_text("1")
        found = until(batches, root / "first")
        (root / "second").write_text("1")
        found |= until(batches, root / "second")
        file.write_text("1")
        found |= until(batches, file)
        assert found == {str(p) for p in (root, root / "first", root / "second", file)}


def test_hidden_files_of_ignore_are_closed() -> None:
    rule = Rule(service="s", path="/p", action="sync", target="/t", ignore=Ignore(["a", "!a/keep"]))
    assert rule.hides("/p/a") and not rule.closes("/p/a")


def test_what_does_not_run_is_told_once_and_gets_nothing(engine: FakeClient) -> None:
    """As after `watch --no-up`."""
    said: list[Any] = []
    watching = Watching(engine, [], lambda **fields: fields)
    sync = {"web": {"/here": "/app/here"}}
    for _ in range(2):
        said += watching._carry_out(Work(sync=sync, restart={"web"}))
    assert [m["text"] for m in said] == ["is not running: nothing is copied"]
    assert {verb for verb, _ in engine.requests} == {"ps"}


def test_watch_goes_with_an_attached_up_only(cli: Cli) -> None:
    for flag in ("-d", "--wait", "--no-start", "--abort-on-container-exit"):
        assert cli("up", "--watch", flag).code == 2


def test_dry_run_says_what_would_be_watched(cli: Cli, engine: FakeClient, tmp_path: Path) -> None:
    watch = [{"path": str(tmp_path), "action": "sync", "target": "/app"}]
    engine.answers["config"] = [
        {"type": "result", "exit_code": 0, "text": stack_of(web={"develop": {"watch": watch}})}
    ]
    result = cli("--dry-run", "watch")
    assert (result.code, result.out) == (0, f"web: sync {tmp_path} -> /app\n")
    assert [verb for verb, _ in engine.requests] == ["config"]
