"""Taking one check out of our code, to see what it is worth: for `test_every_check_counts`."""

import ast
import inspect
import textwrap
from collections.abc import Callable
from dataclasses import replace
from types import CodeType, FunctionType
from typing import Any

import pytest
from cryptography import x509
from OpenSSL import crypto

from cmp import trust
from cmp.trust import TrustStore

Patch = pytest.MonkeyPatch
Removal = Callable[[Patch], None]
NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME, which pyOpenSSL does not name


def _code_without(function: FunctionType, reason: str) -> CodeType:
    """Compile the function again, with `pass` where it raises for that reason."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    definition = tree.body[0]
    assert isinstance(definition, ast.FunctionDef)
    definition.decorator_list = []
    found = [node for node in ast.walk(tree) if raises(node) and reason in ast.unparse(node)]
    assert len(found) == 1, f"{function.__qualname__} does not raise {reason!r} in one place"

    class Drop(ast.NodeTransformer):
        def visit_Raise(self, node: ast.Raise) -> ast.stmt:
            return ast.copy_location(ast.Pass(), node) if node in found else node

    namespace = dict(function.__globals__)
    exec(compile(Drop().visit(tree), inspect.getfile(function), "exec"), namespace)
    code = namespace[function.__name__].__code__
    assert isinstance(code, CodeType)
    return code


def raises(node: ast.AST) -> bool:
    return isinstance(node, ast.Raise)


def without(function: Any, reason: str) -> Removal:
    """Remove one `raise` from a function, wherever the function is known."""
    return lambda patch: patch.setattr(function, "__code__", _code_without(function, reason))


def instead(owner: object, name: str, harmless: Callable[..., object]) -> Removal:
    """Put what checks nothing in the place of a check that also finds what it checks."""
    return lambda patch: patch.setattr(owner, name, harmless)


def both(*removals: Removal) -> Removal:
    def remove(patch: Patch) -> None:
        for removal in removals:
            removal(patch)

    return remove


def at_any_time() -> Removal:
    """Have paths checked without a look at validity."""

    def timeless(anchors: tuple[x509.Certificate, ...], _: object, *, partial: bool) -> object:
        store = crypto.X509Store()
        for anchor in anchors:
            store.add_cert(crypto.X509.from_cryptography(anchor))
        store.set_flags(NO_CHECK_TIME | (crypto.X509StoreFlags.PARTIAL_CHAIN if partial else 0))
        return store

    return instead(trust, "_store", timeless)


def with_helpers_as_anchors(name: str) -> Removal:
    checked = getattr(TrustStore, name)

    def credulous(
        store: TrustStore, certificate: x509.Certificate, helpers: Any, now: Any
    ) -> object:
        return checked(replace(store, roots=(*store.roots, *helpers)), certificate, helpers, now)

    return instead(TrustStore, name, credulous)
