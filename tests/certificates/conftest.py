import pytest

from certificates.models import Certificate
from issuers.models import Issuer
from tests.factories import an_identity
from tests.fakes.site import Site


@pytest.fixture
def site(db: None) -> Site:
    return Site()


@pytest.fixture
def issuer(site: Site) -> Issuer:
    """An issuer whose OCCM certificate is READY."""
    issuer = site.add_ca()
    identity = an_identity(issuer=issuer)
    site.run()
    assert site.readiness(identity) == "READY"
    return issuer


@pytest.fixture
def identity(issuer: Issuer) -> Certificate:
    return issuer.certificates.get(cert_type="OCCM")
