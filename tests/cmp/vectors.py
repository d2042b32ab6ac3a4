"""The messages of other implementations in tests/vectors/cmp, and what is known about them."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path

from cryptography import x509

FOLDER = Path(__file__).parents[1] / "vectors" / "cmp"

# What is no PKIMessage, and why it is refused.
NOT_MESSAGES = {
    "crates-cmpv2/genm_req_body_01.bin": "begins with",
    "crates-cmpv2/genm_req_header_01.bin": "something follows where nothing belongs",
    "crates-cmpv2/ir_req_body_01.bin": "begins with",
    "crates-cmpv2/ir_req_header_01.bin": "something follows where nothing belongs",
    "crates-cmpv2/ir_rsp_body_01.bin": "begins with",
    "crates-cmpv2/ir_rsp_header_01.bin": "something follows where nothing belongs",
    "crates-cmpv2/kur_req_body_01.bin": "begins with",
    "crates-cmpv2/kur_req_header_01.bin": "something follows where nothing belongs",
    "crates-cmpv2/rr_rsp_body_01.bin": "begins with",
    "crates-cmpv2/rr_rsp_header_01.bin": "something follows where nothing belongs",
    "crates-crmf/certreqmsg.bin": "the header cannot be read: it ends too early",
    "crates-crmf/certreqmsgs.bin": "the message cannot be read: it ends too early",
    "crates-crmf/certrequest.bin": "the header cannot be read: an element is missing",
    "crates-crmf/certtemplate.bin": "the header cannot be read: an element is missing",
    "openssl-3.0.22/65-test_cmp_msg_data/pkcs10.der": "something follows where nothing belongs",
    "pyasn1/certreqmsgs.der": "the message cannot be read: it ends too early",
    "pyasn1/rfc9481.der": "something follows where nothing belongs",
}

# Messages that are not protected by what their folder's are.
UNPROTECTED = {
    "openssl-3.0.22/65-test_cmp_protect_data/IR_unprotected.der",
    "openssl-3.0.22/65-test_cmp_vfy_data/IR_rmprotection.der",
    "openssl-3.0.22/65-test_cmp_vfy_data/IR_unprotected.der",
    "recorded/ossl30-unprotected-rejection/rsp1.der",
}
NOT_VERIFIABLE = {
    "pyasn1/certconf-hashalg.der": "the MAC does not verify",  # its secret was not published
    "pyasn1/cp-rsa-sha1.der": "algorithm 1.2.840.113549.1.1.5 is not accepted",
    "recorded/ossl30-wrong-secret/req1.der": "the MAC does not verify",
}


def named(name: str) -> bytes:
    return (FOLDER / name).read_bytes()


def names() -> list[str]:
    """Every file that may be a message, by its path."""
    files = (file for file in FOLDER.rglob("*") if file.suffix in (".der", ".bin"))
    return sorted(file.relative_to(FOLDER).as_posix() for file in files)


def message_names() -> list[str]:
    return [name for name in names() if name not in NOT_MESSAGES]


def secret(name: str) -> bytes:
    """The secret between the parties of a message."""
    match name.split("/"):
        case ["crates-cmpv2", _]:
            return b"1234-5678-1234-5678"
        case [*_, "IP_PBM.der"]:
            return b"insta"
        case [*_, "IP_waitingStatus_PBM.der"]:
            return b"9pp8-b35i-Xd3Q-udNR"
        case [*_, "CR_protected_PBM_1234.der"]:
            return b"1234"
    return b"mysecret"


_SIGNERS = {
    "crates-cmpv2/*": "crates-cmpv2/ec384-server-key.crt",
    "openssl-*/*/IR_protected.der": "openssl-3.0.22/65-test_cmp_protect_data/server.crt",
    "openssl-*/*_extraCerts.der": "openssl-3.0.22/65-test_cmp_vfy_data/insta.cert.pem",
    "pyasn1/*": "recorded/keys/ca.crt",  # not its signer: that one is unknown
    "recorded/ossl30-*/rsp*": "recorded/keys/srv.crt",
    "recorded/ossl30-kur*/req*": "recorded/keys/ee.crt",
    "recorded/ossl30-rr/req*": "recorded/keys/ee.crt",
    "recorded/ossl30-*/req*": "recorded/keys/dev.crt",
    "recorded/siemens-*/rsp*": "recorded/keys/siemens/ra.crt",
    "recorded/siemens-kur/req*": "recorded/siemens-ir-sig/cert.pem",
    "recorded/siemens-rr/req*": "recorded/siemens-kur/cert.pem",
    "recorded/siemens-rr-*/req*": "recorded/siemens-poll-sig/cert.pem",
    "recorded/siemens-*/req*": "recorded/keys/siemens/device.crt",
}


def signer(name: str) -> x509.Certificate:
    """The certificate of a message's signer, from elsewhere than the message."""
    return certificate(next(_SIGNERS[pattern] for pattern in _SIGNERS if fnmatch(name, pattern)))


def certificate(name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(named(name))
