"""Files that the command itself reads: of a pipe that is waited for, the user hears."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from stackctl.cli.output.console import Console
from stackctl.cli.output.errors import print_warning
from stackctl.linux import plain


@contextmanager
def telling(console: Console) -> Iterator[None]:
    """What is read meanwhile may wait for who writes it; Ctrl-C ends that."""

    def tell(path: str) -> None:
        print_warning(console, plain.waiting_for(path))

    token = plain.WAITING.set(plain.Waiting(tell, lambda: False))
    try:
        yield
    finally:
        plain.WAITING.reset(token)
