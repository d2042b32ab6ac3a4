"""Enrolling with servers that others wrote: trust by MAC, then the identity signs for the rest."""

import pytest

from cmp import Enroll, Unacceptable
from tests.interop.asking import Asking, held, new_key, template
from tests.interop.conftest import StartMock
from tests.peers.siemens import SiemensRa


@pytest.mark.field_note(27)
def test_siemens_issues_an_identity_under_a_mac_which_then_signs_for_an_nf(
    siemens_ra: SiemensRa,
) -> None:
    ask, identity_key, nf_key = Asking(siemens_ra), new_key(), new_key()

    first = ask(Enroll(template("/O=Operator/CN=OCCM"), identity_key), ask.mac)
    second = ask(Enroll(template("/O=Operator/CN=amf1"), nf_key), held(first, identity_key))

    assert first.issued
    assert second.issued
    assert second.issued.certificate.public_key() == nf_key.public_key()
    assert second.issued.chain == siemens_ra.peer.pki.chain
    assert ask.asked == ["Ir", "CertConf"] * 2


@pytest.mark.field_note(27)
def test_siemens_accepts_a_vendors_certificate_as_initial_trust(siemens_ra: SiemensRa) -> None:
    ask, key = Asking(siemens_ra), new_key()

    done = ask(Enroll(template(), key), ask.device)

    assert done.issued
    assert done.issued.certificate.public_key() == key.public_key()


@pytest.mark.field_note(31)
def test_openssls_certificate_for_another_key_is_refused_and_the_ca_is_told(
    start_openssl_mock: StartMock,
) -> None:
    ask = Asking(start_openssl_mock())

    with pytest.raises(Unacceptable, match="another public key"):
        ask(Enroll(template(), new_key()), ask.mac)

    assert ask.asked == ["Ir", "CertConf"]
    assert ask.answers == ["Ip", "PkiConf"]


@pytest.mark.parametrize("initial", ["mac", "device"])
def test_openssls_certificate_for_the_right_key_is_accepted(
    start_openssl_mock: StartMock, initial: str
) -> None:
    mock = start_openssl_mock()
    ask = Asking(mock)

    done = ask(Enroll(template(), mock.ee.key), getattr(ask, initial))

    assert done.issued
    assert done.issued.certificate == mock.ee.certificate
    assert ask.answers == ["Ip", "PkiConf"]
