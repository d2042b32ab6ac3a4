"""A crowd as small as a test has to be: `./occm bench kubernetes` has 500 in 50 secrets."""

import gc

import pytest
from django.conf import LazySettings

from secretstore import connect
from tests.fakes.site import Site
from tests.kubernetes.cluster import Cluster
from tests.kubernetes.crowd import NAMESPACE, Crowd


# Python 3.11 closes a socket that is reset before its TLS handshake only when it is collected.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.django_db(transaction=True)
def test_nothing_is_lost_or_torn_among_others_and_over_the_death_of_the_api_server(
    cluster: Cluster, settings: LazySettings
) -> None:
    settings.OCCM_ISSUER_REQUESTS_IN_FLIGHT = 8
    cluster.have_namespace(NAMESPACE)
    cluster.allow_secrets(NAMESPACE, "occm")
    site = Site(secrets=connect(f"kubernetes:{cluster.kubeconfig('occm')}"))
    crowd = Crowd(site, cluster, certificates=40, secrets=4)
    crowd.prepare()

    crowd.run(threads=4, editor=cluster.kubeconfig("editor", ("system:masters",)))

    gc.collect()
    assert len(crowd.findings.pairs) == 40
    assert crowd.findings.torn == []
    assert crowd.findings.lost == []
    assert crowd.findings.edits > 0
