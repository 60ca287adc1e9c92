"""Removing what a container wrote."""

from __future__ import annotations

import os
from pathlib import Path

from stackctl.image.removal import remove_tree


def test_nothing_there_is_fine(tmp_path: Path) -> None:
    remove_tree(tmp_path / "gone")


def test_links_are_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    tree = tmp_path / "tree"
    (tree / "a").mkdir(parents=True)
    (tree / "a/link").symlink_to(outside)
    (tree / "file-link").symlink_to(outside / "kept")
    os.mkfifo(tree / "a/fifo")
    remove_tree(tree)
    assert not tree.exists()
    assert (outside / "kept").exists()


def test_a_tree_deeper_than_recursion_and_descriptors(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / ".stackctl-lifted-1").mkdir()
    here = os.open(tree, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=here)
        os.close(os.open("f", os.O_WRONLY | os.O_CREAT, dir_fd=here))
        inner = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)
    remove_tree(tree)
    assert not tree.exists()


def test_names_that_are_no_text(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / os.fsdecode(b"\xff\n")).touch()
    remove_tree(tree)
    assert not tree.exists()
