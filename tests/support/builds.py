"""Builds by a test's engine: a base image, a context, and what came out."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from stackctl.image.build.tree import Tree
from stackctl.image.service import Images
from support.dockerfiles import BASE, make_base
from support.engine import Engine, Result


def with_base(engine: Engine, place: Path) -> Engine:
    """The engine, with the image `base`: busybox and little else."""
    make_base(place / "base", shutil.which("busybox") or "")
    (place / "base/Dockerfile").write_text(BASE)
    engine.ok("image", "build", "-q", "-t", "base", str(place / "base"))
    return engine


def small_context(place: Path) -> Path:
    """A directory with the file `f`; the Dockerfile is beside it."""
    context = place / "context"
    context.mkdir()
    (context / "f").write_text("one\n")
    return context


def build(engine: Engine, context: Path, text: str, *flags: str, code: int = 0) -> Result:
    argv = ("--progress", "plain", "-t", "made", *flags)
    (context.parent / "Dockerfile").write_text(text)
    file = ("-f", str(context.parent / "Dockerfile"))
    return engine.run("image", "build", *argv, *file, str(context)).expect(code)


def document(engine: Engine, name: str = "made") -> tuple[str, dict[str, Any]]:
    store = Images(engine.paths).store
    found = store.find(name)
    assert found is not None
    return found[0], store.config(found[0])


def text(engine: Engine, path: str, name: str = "made") -> str | None:
    """A file of the image; None when there is none."""
    store = Images(engine.paths).store
    with Tree(store.ensure_unpacked(document(engine, name)[0])) as tree:
        node = tree.find(path)
        return tree.read(node, 1 << 20).decode() if node is not None else None
