"""TLS contexts of both sides: each shows a certificate, and checks the other's."""

from __future__ import annotations

import ssl

from stackctl.errors import UsageError
from stackctl.state.endpoints import TlsFiles


def server_context(files: TlsFiles) -> ssl.SSLContext:
    """For a server that asks every client for a certificate. Raises UsageError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    return _filled(context, files)


def client_context(files: TlsFiles) -> ssl.SSLContext:
    """For a client that knows its server by authority and name. Raises UsageError."""
    return _filled(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), files)


def _filled(context: ssl.SSLContext, files: TlsFiles) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # A write would have to wait for a read in the middle of an answer.
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    for path in files.all:
        try:
            path.read_bytes()
        except OSError as error:
            raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    try:
        context.load_verify_locations(files.authority)
    except ssl.SSLError as error:
        raise _unusable(str(files.authority), error) from None
    try:
        # Without a password OpenSSL would ask for one on the terminal.
        context.load_cert_chain(files.certificate, files.key, password="")
    except (ssl.SSLError, ValueError) as error:
        raise _unusable(f"{files.certificate} with {files.key}", error) from None
    return context


def _unusable(what: str, error: Exception) -> UsageError:
    return UsageError(
        f"{what} cannot be used for TLS: {getattr(error, 'reason', None) or error}",
        hint="PEM files; the key belongs to the certificate and has no passphrase",
    )
