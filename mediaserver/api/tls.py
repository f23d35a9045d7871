"""A TLS certificate of our own, so that a phone in the same network gives its camera to the page.

Browsers give a camera only to https (or to localhost). The certificate is self-signed: a person accepts
it once per device. It is made at the first start, kept in the data directory, and made again before it
expires or when this machine has an address that it doesn't name.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import ssl
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

VALID = datetime.timedelta(days=397)  # the most that browsers accept
RENEW_BEFORE = datetime.timedelta(days=30)
CERT_FILE = "https-cert.pem"
KEY_FILE = "https-key.pem"


def own_certificate(directory: Path, addresses: Sequence[str]) -> ssl.SSLContext:
    """A server context with the kept certificate, made anew where it no longer fits."""
    cert_path, key_path = directory / CERT_FILE, directory / KEY_FILE
    if not (key_path.exists() and _fits(cert_path, addresses)):
        _make(cert_path, key_path, addresses)
    return server_context(cert_path, key_path)


def server_context(cert_path: Path, key_path: Path) -> ssl.SSLContext:
    """A server context from PEM files; raises OSError or ssl.SSLError."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert_path, key_path)
    return context


def _fits(path: Path, addresses: Sequence[str]) -> bool:
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, x509.ExtensionNotFound):
        return False
    now = datetime.datetime.now(tz=datetime.UTC)
    if certificate.not_valid_after_utc - RENEW_BEFORE < now:
        return False
    named = {str(address) for address in names.get_values_for_type(x509.IPAddress)}
    return named.issuperset(addresses)


def _make(cert_path: Path, key_path: Path, addresses: Sequence[str]) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Hawker on this machine")])
    now = datetime.datetime.now(tz=datetime.UTC)
    names: list[x509.GeneralName] = [x509.DNSName("localhost")]
    names += [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + VALID)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    _write(key_path, private)
    _write(cert_path, certificate.public_bytes(serialization.Encoding.PEM))


def _write(path: Path, data: bytes) -> None:
    """Replace the file whole, readable by its owner alone."""
    scratch = path.with_suffix(".new")
    scratch.unlink(missing_ok=True)
    with open(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
    scratch.replace(path)
