"""The date of the certificate that the UI's server shows, whoever signed it."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from trading_assets.observability.certificates import Certificates, expires_ms

EXPIRED = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def asked() -> list[int]:
    return []


@pytest.fixture
def server(tmp_path: Path, asked: list[int]) -> Iterator[str]:
    """The URL of a TLS server whose certificate nobody knows and that has expired."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "desk")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(EXPIRED - timedelta(days=90))
        .not_valid_after(EXPIRED)
        .sign(key, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    chain = tmp_path / "chain.pem"
    chain.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain) + made.public_bytes(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)

    def serve(listening: socket.socket) -> None:
        with suppress(OSError):
            while True:
                line, _ = listening.accept()
                asked.append(1)
                with suppress(OSError), context.wrap_socket(line, server_side=True) as secured:
                    secured.recv(1)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, args=(listening,), daemon=True).start()
        yield f"https://127.0.0.1:{listening.getsockname()[1]}/ui"
        listening.shutdown(socket.SHUT_RDWR)


def test_a_certificate_that_has_expired_has_its_date_and_is_asked_for_once(server: str, asked: list[int]) -> None:
    certificates = Certificates()
    assert {certificates.expires_ms(server) for _ in range(3)} == {int(EXPIRED.timestamp() * 1000)}
    assert len(asked) == 1


def test_what_shows_no_certificate_has_no_date() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        assert expires_ms(f"https://127.0.0.1:{port}", timeout_s=0.1) is None
    assert expires_ms(f"https://127.0.0.1:{port}") is None
    assert expires_ms("http://127.0.0.1:1") is None
