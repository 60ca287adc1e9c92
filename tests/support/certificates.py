"""An authority of a test's own, with certificates for an engine and for its clients."""

from __future__ import annotations

from pathlib import Path

import trustme

from stackctl.state.endpoints import TlsFiles


class Authority:
    """Makes directories as docker's clients want them: ca.pem, cert.pem, key.pem."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._ca = trustme.CA()

    def issue(self, *names: str, trusted: Authority | None = None) -> TlsFiles:
        """For these names; `trusted` is the other side's authority, ours by default."""
        directory = self._directory / names[0]
        directory.mkdir(parents=True)
        certificate = self._ca.issue_cert(*names)
        files = TlsFiles.of(directory)
        (trusted or self)._ca.cert_pem.write_to_path(files.authority)
        chain = b"".join(blob.bytes() for blob in certificate.cert_chain_pems)
        files.certificate.write_bytes(chain)
        certificate.private_key_pem.write_to_path(files.key)
        return files
