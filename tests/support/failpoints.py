"""kill -9 of one of our processes at its n-th step, without a line in the product.

A step is what Python's audit hooks tell of: a file opened for writing, made, renamed or
removed, a process started, a message sent. The text below is put in front of what the
process runs; a child that it forks goes on counting, so that whoever gets to the
n-th step first dies there.
"""

from __future__ import annotations

from pathlib import Path

_HOOK = """
import os as _os, sys as _sys
_left = [{step}]
_names = frozenset((
    'os.mkdir', 'os.rename', 'os.remove', 'os.rmdir', 'os.link', 'os.symlink', 'os.chmod',
    'os.chown', 'os.posix_spawn', 'os.fork', 'os.truncate', 'os.utime', 'fcntl.flock',
    'socket.bind', 'socket.connect', 'socket.sendmsg', 'socket.sendto', 'sqlite3.connect',
))
def _count(event, arguments):
    if event not in _names and not (event == 'open' and (arguments[2] or 0) & 3):
        return
    _left[0] -= 1
    if _left[0] == 0:
        _os.close(_os.open({mark!r}, _os.O_WRONLY | _os.O_CREAT, 0o600))
        _os.kill(_os.getpid(), 9)
_sys.addaudithook(_count)
"""


def killed_at(step: int, mark: Path, program: str) -> str:
    """`program` with its end at `step` (from 1); `mark` is made when it gets there."""
    return _HOOK.format(step=step, mark=str(mark)) + program
