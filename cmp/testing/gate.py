"""Who is asking, and may they: header, protection and standing of a question's sender.

As strict as the strictest CA in the field. It raises Refused with the failInfo a real one would
send; what is asked for is not its business.
"""

import hmac
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509

from cmp.errors import Unprotected
from cmp.messages import GenM, Kur, PKIHeader, PKIMessage, Rr
from cmp.names import format_name, same_name
from cmp.protection import is_mac, subject_key_identifier, verify_mac, verify_signature
from cmp.testing.behaviour import Behaviour
from cmp.testing.register import Register
from cmp.testing.wanted import Refused
from cmp.trust import TrustStore

ID_BYTES = 16  # transactionID and nonces: 128 bits, RFC 9810, 5.1.1


@dataclass(frozen=True, slots=True)
class Peer:
    """Whose protection verified: the holder of a shared secret, or of a certificate."""

    reference: bytes | None = None
    signer: x509.Certificate | None = None


@dataclass(frozen=True, slots=True)
class Gate:
    """`names` are those the CA answers to, `vendors` anchors the first certificates of devices."""

    behaviour: Behaviour
    secrets: dict[bytes, bytes]
    register: Register
    names: tuple[x509.Name, ...]
    vendors: TrustStore

    def authenticate(self, question: PKIMessage, *, now: datetime) -> Peer:
        """Check header and protection, and return who it is from."""
        self._require_header(question.header, now)
        if question.protection is None or question.header.protection_alg is None:
            raise Refused("badMessageCheck", "unprotected messages are not accepted")
        return self._by_mac(question) if is_mac(question.header) else self._by_signature(question)

    def authorize(self, peer: Peer, question: PKIMessage, *, now: datetime) -> None:
        """Check that the sender may begin a transaction of this kind."""
        if peer.signer is None:
            if isinstance(question.body, Kur | Rr):
                raise Refused("wrongIntegrity", "this request has to be signed")  # RFC 9483, 4.1.3
            return
        mine = self.register.find(peer.signer)
        if mine is None:
            if isinstance(question.body, Kur | Rr | GenM):
                raise Refused("notAuthorized", "a certificate of this CA has to sign this request")
            self._require_vendor(peer.signer, question, now)
        elif mine.revoked_at or mine.superseded_at:
            raise Refused("certRevoked", f"the signer's certificate is {mine.state}")
        elif not peer.signer.not_valid_before_utc <= now <= peer.signer.not_valid_after_utc:
            raise Refused("signerNotTrusted", "the signer's certificate has expired")

    def _require_header(self, header: PKIHeader, now: datetime) -> None:
        if header.pvno not in (2, 3):
            raise Refused("unsupportedVersion", "pvno 2 and 3 are spoken here")
        if header.transaction_id is None or len(header.transaction_id) != ID_BYTES:
            raise Refused("badDataFormat", "a transactionID of 16 bytes is required")
        if header.sender_nonce is None or len(header.sender_nonce) < ID_BYTES:
            raise Refused("badSenderNonce", "a senderNonce of 16 bytes is required")
        if header.message_time is None:
            raise Refused("badTime", "messageTime is required")
        if abs(header.message_time - now) > self.behaviour.clock_tolerance:
            raise Refused("badTime", f"messageTime is too far from {now.isoformat()}")
        recipient = _directory_name(header.recipient)
        if not self.behaviour.check_recipient or recipient == x509.Name([]):
            return
        if recipient is None or not any(same_name(recipient, name) for name in self.names):
            called = ", ".join(map(format_name, self.names))
            raise Refused("wrongAuthority", f"the recipient is not this CA ({called})")

    def _by_mac(self, question: PKIMessage) -> Peer:
        reference = question.header.sender_kid or b""
        secret = self.secrets.get(reference)
        try:  # an unknown reference costs as much, and is told as little, as a wrong secret
            verify_mac(question, secret or b"?")
        except Unprotected:
            secret = None
        if secret is None:
            raise Refused("badMessageCheck", "the reference is unknown or the MAC does not verify")
        if self.behaviour.check_mac_sender and not _is_called(question.header, reference):
            raise Refused("badMessageCheck", "the sender's CN is not the reference in senderKID")
        return Peer(reference=reference)

    def _by_signature(self, question: PKIMessage) -> Peer:
        if not question.extra_certs:
            raise Refused("addInfoNotAvailable", "the signer's certificate is not in extraCerts")
        signer = question.extra_certs[0]  # RFC 9483, 3.3
        try:
            verify_signature(question, signer)
        except Unprotected as error:
            raise Refused("badMessageCheck", str(error)) from None
        sender = _directory_name(question.header.sender)
        if sender is None or not same_name(sender, signer.subject):
            raise Refused("badMessageCheck", "the sender is not the subject of its certificate")
        if question.header.sender_kid != subject_key_identifier(signer):
            raise Refused("badMessageCheck", "senderKID is not the signer's key identifier")
        return Peer(signer=signer)

    def _require_vendor(
        self, signer: x509.Certificate, question: PKIMessage, now: datetime
    ) -> None:
        if not self.vendors.can_anchor_signers:
            raise Refused("signerNotTrusted", "the signer's certificate is not of this CA")
        try:
            self.vendors.check_signer(signer, question.extra_certs, now)
        except Unprotected as error:
            raise Refused("signerNotTrusted", str(error)) from None


def _directory_name(name: x509.GeneralName) -> x509.Name | None:
    return name.value if isinstance(name, x509.DirectoryName) else None


def _is_called(header: PKIHeader, reference: bytes) -> bool:
    name = _directory_name(header.sender) or x509.Name([])
    names = name.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return any(hmac.compare_digest(str(each.value).encode(), reference) for each in names)
