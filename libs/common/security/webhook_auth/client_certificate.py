"""The client certificate that a proxy has verified: believed only on connections from a trusted proxy.

The header holds the certificate as RFC 9440 has it (`:<base64 of DER>:`) or, from proxies that pass only that, its
subject as text (RFC 4514, as nginx's `$ssl_client_s_dn`). The proxy must remove the header from what clients send.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import TypeAlias

import msgspec

from libs.common.security.signatures import decode_digest
from libs.common.security.webhook_auth.scheme import CERTIFICATE, SignedCall, Verdict

Networks: TypeAlias = tuple[IPv4Network | IPv6Network, ...]


class CertificateScheme(msgspec.Struct, frozen=True):
    """Callers by the subject of their certificate, or by the SHA-256 of its public key (SPKI, hex)."""

    header: str
    subjects: frozenset[str]
    fingerprints: frozenset[str]
    trusted: Networks

    def verify(self, call: SignedCall, body: bytes, now: datetime) -> Verdict:
        """The proxy, then the certificate and its dates."""
        value = call.headers.get(self.header, "").strip()
        if not value or not _is_within(call.peer, self.trusted):
            return Verdict(CERTIFICATE)
        if not value.startswith(":"):
            return Verdict() if value in self.subjects else Verdict(CERTIFICATE)
        der = decode_digest(value[1:-1], "base64") if value.endswith(":") else None
        return Verdict() if der is not None and self._is_welcome(der, now) else Verdict(CERTIFICATE)

    def _is_welcome(self, der: bytes, now: datetime) -> bool:
        from cryptography import x509  # noqa: PLC0415 - only users of certificates pay for it
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat  # noqa: PLC0415

        try:
            certificate = x509.load_der_x509_certificate(der)
            subject = certificate.subject.rfc4514_string()
            key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        except Exception:  # noqa: BLE001 - whatever a damaged certificate makes the parser say, it is not welcome
            return False
        if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
            return False
        return subject in self.subjects or hashlib.sha256(key).hexdigest() in self.fingerprints


def _is_within(address: str, networks: Networks) -> bool:
    try:
        peer = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    plain = getattr(peer, "ipv4_mapped", None) or peer
    return any(plain in network for network in networks)
