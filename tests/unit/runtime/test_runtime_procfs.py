"""What /proc says of signals: whether one would be dropped by a first process."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stackctl.runtime.procfs import has_default_action
from support.waiting import wait_until

SCRIPTS = {
    "catches": "import signal; signal.signal(signal.SIGTERM, lambda *_: None)",
    "ignores": "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)",
    "blocks": "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})",
    "nothing": "",
}


@pytest.mark.parametrize(("kind", "default"), [*((k, k == "nothing") for k in SCRIPTS)])
def test_a_signal_with_a_taker_is_heard(kind: str, default: bool) -> None:
    script = f"{SCRIPTS[kind]}\nprint('ready', flush=True)\ninput()"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None and process.stdout.readline()
        assert has_default_action(process.pid, signal.SIGTERM) is default
        process.kill()


def test_who_waits_for_a_signal_hears_it() -> None:
    """sigwait unblocks what it waits for: the masks alone look as if nobody listened."""
    script = (
        "import signal; all = signal.valid_signals(); "
        "signal.pthread_sigmask(signal.SIG_BLOCK, all); signal.sigwait(all)"
    )
    with subprocess.Popen([sys.executable, "-c", script]) as process:
        wait_until(
            lambda: "sigtimedwait" in Path(f"/proc/{process.pid}/wchan").read_text(),
            10,
            what="it waiting",
        )
        assert not has_default_action(process.pid, signal.SIGTERM)
        process.kill()
