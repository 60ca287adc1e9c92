"""What can be asked of a container's log."""

from __future__ import annotations

#: Options of Docker's json-file that change nothing here: what they add is not in our files,
#: or what they avoid does not happen.
LOG_OPTIONS_WITHOUT_EFFECT = (
    *("compress", "labels", "labels-regex", "env", "env-regex", "tag", "mode", "max-buffer-size"),
)
