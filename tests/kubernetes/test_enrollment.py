"""From the operator's Kubernetes secrets to a certificate in one, as a plain client reads it."""

from collections.abc import Mapping

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from secretstore import CERTIFICATE_LABEL, connect
from tests.factories import a_certificate, an_identity
from tests.fakes.site import Site
from tests.kubernetes.cluster import Cluster


@pytest.fixture(scope="module")
def ns1(cluster: Cluster) -> str:
    """The namespace that the factories name."""
    namespace = cluster.have_namespace("ns1")
    cluster.allow_secrets(namespace, "occm")
    return namespace


@pytest.fixture
def site(cluster: Cluster, ns1: str, db: None) -> Site:
    """An installation with its secrets in the cluster, and just the rights OCCM asks for."""
    site = Site()
    site.secrets = connect(f"kubernetes:{cluster.kubeconfig('occm')}")
    return site


def test_identity_and_nf_certificate_end_up_in_secrets_that_another_client_reads(
    site: Site, cluster: Cluster
) -> None:
    issuer = site.add_ca()
    identity = an_identity(issuer=issuer)
    cluster.put_secret("ns1", "nrf-tls", {"theirs": b"kept"})
    certificate = a_certificate(issuer=issuer, name="nrf", secret="nrf-tls")

    site.run()

    assert (site.readiness(identity), site.readiness(certificate)) == ("READY", "READY")
    found = cluster.secret("ns1", "nrf-tls")
    data: Mapping[str, bytes] = found["data"]
    leaf = x509.load_pem_x509_certificate(data["tls.crt"])
    key = load_pem_private_key(data["tls.key"], password=None)
    assert leaf.public_key() == key.public_key()
    leaf.verify_directly_issued_by(site.cas[issuer.pk].pki.issuing.certificate)
    assert data["theirs"] == b"kept"
    assert found["metadata"]["labels"][CERTIFICATE_LABEL] == "nrf"


def test_an_api_server_that_is_down_delays_the_write_and_nothing_else(
    site: Site, cluster: Cluster
) -> None:
    issuer = site.add_ca()
    an_identity(issuer=issuer)
    site.run()
    certificate = a_certificate(issuer=issuer, secret="late-tls")
    asked = site.cas[issuer.pk].count("ir")

    with cluster.api_down():
        site.run()
        row = site.errand(certificate)
        assert row.error_code == "SECRET_STORE_UNAVAILABLE"
        assert row.due_at is not None
        assert (row.due_at - site.clock()).total_seconds() == 30
    site.clock.forward(seconds=30)
    site.run()

    assert site.readiness(certificate) == "READY"
    assert site.cas[issuer.pk].count("ir") <= asked + 1
