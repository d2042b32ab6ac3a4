"""Things that befall a CA or a secret store, for tests to cause and to end."""

from collections.abc import Callable
from typing import Any

from cmp.testing.behaviour import Refusal
from issuers.models import Issuer
from secretstore import Forbidden, Unavailable
from tests.fakes.site import Site


def refusing(site: Site, issuer: Issuer) -> None:
    site.cas[issuer.pk].refuse = Refusal(frozenset({"badRequest"}), ("not today",))


def refusing_by_error(site: Site, issuer: Issuer) -> None:
    refusing(site, issuer)
    site.cas[issuer.pk].error_body = True


def set_knob(name: str, value: Any = True) -> Callable[[Site, Issuer], None]:
    return lambda site, issuer: setattr(site.cas[issuer.pk], name, value)


def cut(site: Site, issuer: Issuer) -> None:
    site.cut.add(issuer.pk)


def recover(site: Site, issuer: Issuer) -> None:
    site.cut.clear()
    ca = site.cas[issuer.pk]
    site.cas[issuer.pk] = type(ca)(pki=ca.pki, secrets=ca.secrets, register=ca.register)


class Refusing:
    """A secret store in front of another, that forbids one secret."""

    def __init__(self, store: Any, forbidden: str) -> None:
        self.store, self.forbidden = store, forbidden

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    def read(self, namespace: str, secret: str, **options: Any) -> Any:
        self._check(secret)
        return self.store.read(namespace, secret, **options)

    def write(self, namespace: str, secret: str, changes: Any, **options: Any) -> str:
        self._check(secret)
        return str(self.store.write(namespace, secret, changes, **options))

    def _check(self, secret: str) -> None:
        if secret == self.forbidden:
            raise Forbidden(f"secret ns1/{secret}: not allowed")


class NotWriting(Refusing):
    """A secret store that can be read and not be written."""

    def __init__(self, store: Any) -> None:
        super().__init__(store, "")

    def write(self, namespace: str, secret: str, changes: Any, **options: Any) -> str:
        if options.get("dry_run"):
            return str(self.store.write(namespace, secret, changes, **options))
        raise Unavailable("the API server is down")
