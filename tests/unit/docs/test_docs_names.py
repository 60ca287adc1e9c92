"""The documentation names real things: modules, classes, functions, files, make targets."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGES = [
    *(ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md")),
    *(ROOT / "docs").rglob("*.md"),
    *(ROOT / "examples").rglob("*.md"),
]


def dotted_names() -> Iterator[str]:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    yield from sorted(set(re.findall(r"`(stackctl(?:\.\w+)+)`", text)))


def module_of(parts: list[str]) -> tuple[Path, list[str]]:
    """The file of the longest prefix that is a module, and what is left of the name."""
    for length in range(len(parts), 0, -1):
        base = ROOT.joinpath(*parts[:length])
        for file in (base.with_suffix(".py"), base / "__init__.py"):
            if file.exists():
                return file, parts[length:]
    raise AssertionError(f"no module is called {'.'.join(parts)}")


def defined(tree: ast.AST) -> dict[str, ast.AST]:
    """What a module or class body defines, by name."""
    found: dict[str, ast.AST] = {}
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found[node.name] = node
        elif isinstance(node, ast.Assign):
            found |= {t.id: node for t in node.targets if isinstance(t, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found[node.target.id] = node
    return found


@pytest.mark.parametrize("name", list(dotted_names()))
def test_a_name_in_the_architecture_exists(name: str) -> None:
    file, rest = module_of(name.split("."))
    node: ast.AST = ast.parse(file.read_text())
    for part in rest:
        scope = defined(node)
        assert part in scope, f"{name}: {file.relative_to(ROOT)} does not define {part}"
        node = scope[part]


def test_the_architecture_names_something() -> None:
    assert len(list(dotted_names())) > 30


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_paths_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)
    files = re.findall(r"`((?:stackctl|tests|examples|docs)/[\w./-]+)`", text)
    missing = [x for x in links if not (page.parent / x).exists()]
    missing += [x for x in files if x != "stackctl/host" and not (ROOT / x).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z0-9 -]+):", (ROOT / "Makefile").read_text(), re.M))
    known = {name for line in targets for name in line.split()}
    assert set(re.findall(r"\bmake ([a-z0-9]+)\b(?! \w)", text_of_code(page))) <= known


def text_of_code(page: Path) -> str:
    """Indented blocks and backquoted pieces: prose may say "make it so"."""
    text = page.read_text()
    blocks = re.findall(r"^    .*$", text, re.M)
    return "\n".join([*blocks, *re.findall(r"`([^`\n]+)`", text)])
