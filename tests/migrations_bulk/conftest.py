import pytest

from certificates.models import Certificate
from issuers.models import Issuer
from tests.factories import a_certificate, an_identity
from tests.fakes.site import Site


@pytest.fixture
def site(db: None) -> Site:
    return Site()


@pytest.fixture
def source(site: Site) -> Issuer:
    return with_identity(site, "CA1")


@pytest.fixture
def destination(site: Site) -> Issuer:
    return with_identity(site, "CA2")


@pytest.fixture
def three(site: Site, source: Issuer) -> list[Certificate]:
    """The guide's three certificates, READY at CA1."""
    made = [a_certificate(issuer=source, name=name) for name in ("amf", "nrf", "smf")]
    site.run()
    assert {site.readiness(one) for one in made} == {"READY"}
    return made


def with_identity(site: Site, name: str) -> Issuer:
    issuer = site.add_ca(name=name)
    an_identity(issuer=issuer, name=f"OCCM-{name}")
    site.run()
    return issuer
