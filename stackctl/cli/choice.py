"""Which engine a command speaks to: flags before the environment, both before what is stored.

--host   --context   STACKCTL_HOST   STACKCTL_CONTEXT   `stackctl context use`   our own
"""

from __future__ import annotations

from stackctl.errors import UsageError
from stackctl.state.endpoints import Endpoint, TlsFiles, endpoint
from stackctl.state.used import used_context
from stackctl.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


class Wished(NamedTuple):
    """The global options about it; empty ones were not given."""

    host: str = ""
    context: str = ""
    authority: str = ""
    certificate: str = ""
    key: str = ""

    @property
    def files(self) -> TlsFiles | None:
        """Raises UsageError when only some are named."""
        named = (self.authority, self.certificate, self.key)
        if not any(named):
            return None
        if not all(named):
            raise UsageError(
                "--tlscacert, --tlscert and --tlskey go together",
                hint="both sides of a connection show a certificate",
            )
        from pathlib import Path

        return TlsFiles(*(Path(name).absolute() for name in named))


def context_name(wished: Wished, environment: Mapping[str, str]) -> str:
    """The context that counts; "" when a host is named, or no context is. UsageError for both."""
    if wished.host and wished.context:
        raise UsageError("--host and --context exclude each other")
    if wished.host:
        return ""
    if wished.context:
        return wished.context
    if environment.get("STACKCTL_HOST"):
        return ""
    if given := environment.get("STACKCTL_CONTEXT"):
        return given
    return used_context(environment)


def chosen(wished: Wished, environment: Mapping[str, str]) -> Endpoint:
    """Raises UsageError, NotFound for an unknown context."""
    name = context_name(wished, environment)
    if name in ("", "default"):
        host = "" if name else wished.host or environment.get("STACKCTL_HOST", "")
        return endpoint(host, wished.files, environment)
    from stackctl.state.contexts import Contexts

    contexts = Contexts.from_environment(environment)
    context = contexts.get(name)
    return endpoint(context.host, wished.files or contexts.files(name), environment)
