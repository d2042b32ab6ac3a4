"""Secrets in a Kubernetes cluster: the official client's configuration, credentials, connections.

Requests go out on that client's lower level, so that the deadline holds for the whole answer, none
of our values comes back, and no exception carries what the server said: an admission webhook may
quote what it was sent. A write is one merge patch of our own keys, conditioned on the
resourceVersion read (no server-side apply: it would take the keys of other certificates away).
"""

import base64
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, Final, Self
from urllib.parse import quote

import yaml
from kubernetes.client import ApiClient, ApiException, Configuration
from kubernetes.config import ConfigException, load_incluster_config, load_kube_config
from urllib3 import HTTPResponse
from urllib3.exceptions import HTTPError, NewConnectionError, ProtocolError
from urllib3.exceptions import TimeoutError as RequestTimeout

from secretstore.base import (
    DEADLINE,
    OPAQUE,
    Conflict,
    Secret,
    TimedOut,
    Unauthenticated,
    Unavailable,
)
from secretstore.deadline import keep_deadlines
from secretstore.limits import check_names, merge
from secretstore.statuses import Action, refusal
from secretstore.watches import EventWatch, Gone

CONNECTIONS: Final = 128  # kept open at most; a worker has 50 to 100 threads
_MAX_ANSWER: Final = 8 << 20  # a full secret is 1.4 MiB of base64, and its managedFields
_JSON: Final = "application/json"
_MERGE_PATCH: Final = "application/merge-patch+json"
_METADATA: Final = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"
_MANAGED: Final = {"app.kubernetes.io/managed-by": "occm"}
_METHODS: Final[dict[Action, str]] = {
    "read": "GET",
    "create": "POST",
    "patch": "PATCH",
    "watch": "GET",
}
_WATCHED: Final = _METADATA.partition(",")[0]  # of others' secrets nothing else comes here
_WATCH_S: Final = 300  # seconds a watch is asked to last; then the token is read again
_GRACE_S: Final = 30
_CHUNK: Final = 64 << 10


class KubernetesSecretStore:
    """Speaks to one API server. Make one per process; its threads share it."""

    def __init__(self, configuration: Configuration) -> None:
        configuration.retries = False  # urllib3 would sleep for as long as Retry-After says
        configuration.connection_pool_maxsize = CONNECTIONS
        self.url = configuration.host
        self._client = ApiClient(configuration)
        keep_deadlines(self._client.rest_client.pool_manager)

    @classmethod
    def in_cluster(cls) -> Self:
        """Speak to the cluster this pod runs in, as its service account."""
        configuration = Configuration()
        try:
            load_incluster_config(configuration)  # type: ignore[no-untyped-call]
        except (ConfigException, OSError) as error:
            raise Unavailable(
                f"no Kubernetes service account here ({error}): run in a pod that has one,"
                " or name a kubeconfig"
            ) from error
        return cls(configuration)

    @classmethod
    def from_kubeconfig(cls, path: Path, context: str | None = None) -> Self:
        """Speak to the cluster of a kubeconfig's context, its current one unless one is named."""
        configuration = Configuration()
        try:
            load_kube_config(  # type: ignore[no-untyped-call]
                str(path), context, configuration, persist_config=False
            )
        except (ConfigException, OSError) as error:
            raise Unavailable(f"kubeconfig {path} cannot be used: {error}") from error
        except (yaml.YAMLError, ValueError, TypeError):  # their words may hold its credentials
            raise Unavailable(f"kubeconfig {path} cannot be used: it does not parse") from None
        return cls(configuration)

    def read(self, namespace: str, secret: str, *, deadline: float = DEADLINE) -> Secret:
        check_names(namespace, secret)
        request = _Request("read", namespace, secret, accept=_JSON)
        answer = self._call(request, deadline)
        try:
            data = {
                key: base64.b64decode(text, validate=True)
                for key, text in (answer.get("data") or {}).items()
            }
        except (AttributeError, TypeError, ValueError):
            raise _no_cluster(request) from None
        return Secret(data, _version(answer, request))

    def write(  # noqa: PLR0913 (all but the first three by keyword)
        self,
        namespace: str,
        secret: str,
        changes: Mapping[str, bytes],
        *,
        version: str | None,
        labels: Mapping[str, str] = {},
        secret_type: str = OPAQUE,
        dry_run: bool = False,
        deadline: float = DEADLINE,
    ) -> str:
        check_names(namespace, secret, changes)
        merge(namespace, secret, {}, changes)  # what is too large alone need not be sent
        if version in {"", "0"}:  # which the server would take for "whichever is there"
            raise Conflict(f"secret {namespace}/{secret}: {version!r} is no version read from it")
        metadata: dict[str, Any] = {"labels": _legal(labels)}
        body: dict[str, Any] = {
            "metadata": metadata,
            "data": {key: base64.b64encode(value).decode() for key, value in changes.items()},
        }
        action: Action = "create" if version is None else "patch"
        if version is None:
            metadata["name"] = secret
            metadata["labels"] |= _MANAGED  # one that is there may be Helm's, or somebody else's
            body |= {"apiVersion": "v1", "kind": "Secret", "type": secret_type}
        else:
            metadata["resourceVersion"] = version
        request = _Request(action, namespace, secret, accept=_METADATA, body=body, dry_run=dry_run)
        answer = self._call(request, deadline)
        return (version or "") if dry_run else _version(answer, request)

    def watch(self, namespace: str) -> EventWatch:
        """Notice changes by the API's stream; the verb watch on secrets is all it takes."""
        check_names(namespace, "any")
        return EventWatch(namespace, self._events)

    def _events(self, namespace: str, version: str) -> Iterator[bytes]:
        """Yield what a watch says, as it comes. Raises Gone if the version is too old."""
        request = _Request("watch", namespace, "", accept=_WATCHED, since=version)
        with _explained(request):
            response = self._send(request, monotonic() + _WATCH_S + _GRACE_S)
            try:
                if response.status == 410:
                    raise Gone
                if response.status != 200:
                    raise refusal(
                        "watch",
                        request.where,
                        status=response.status,
                        retry_after=response.headers.get("Retry-After"),
                        answer={},
                    )
                yield from response.stream(_CHUNK)
            finally:
                response.close()

    def _call(self, request: "_Request", deadline: float) -> dict[str, Any]:
        until = monotonic() + deadline
        with _explained(request):
            try:
                response = self._send(request, until)
            except ProtocolError:
                # The server closed a connection that was kept. Repeating is safe: should the first
                # have arrived after all, the second meets another version and ends as a Conflict.
                response = self._send(request, until)
            content = response.read(_MAX_ANSWER + 1)
            if len(content) > _MAX_ANSWER:
                response.close()
                raise _no_cluster(request)
            response.release_conn()
        try:
            answer = json.loads(content)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            answer = {}
        if not 200 <= response.status < 300:
            raise refusal(
                request.action,
                request.where,
                status=response.status,
                retry_after=response.headers.get("Retry-After"),
                answer=answer,
            )
        if answer.get("kind") not in {"Secret", "PartialObjectMetadata"}:
            raise _no_cluster(request)
        return answer

    def _send(self, request: "_Request", until: float) -> HTTPResponse:
        headers = {"Accept": request.accept, "User-Agent": "occm", **self._credentials(request)}
        if request.body is not None:
            headers["Content-Type"] = _JSON if request.action == "create" else _MERGE_PATCH
        left = until - monotonic()
        if left <= 0:
            raise RequestTimeout
        answer = self._client.call_api(
            _METHODS[request.action],
            self.url + request.path,
            headers,
            request.body,
            _request_timeout=left,
        )
        response: HTTPResponse = answer.response
        return response

    def _credentials(self, request: "_Request") -> dict[str, str]:
        """Return the headers that say who we are; a rotated token is read again within a minute."""
        headers: dict[str, str] = {}
        try:
            self._client.update_params_for_auth(headers, [], ["BearerToken"], "", "", None)
        except (ConfigException, OSError) as error:
            raise Unauthenticated(
                f"{request.where}: the service account's token cannot be read ({error})"
            ) from error
        headers = {name: text.strip() for name, text in headers.items()}
        if not all(text.isprintable() for text in headers.values()):
            raise Unauthenticated(f"{request.where}: the token holds what no token may hold")
        return headers


@dataclass(frozen=True, slots=True)
class _Request:
    action: Action
    namespace: str
    secret: str
    accept: str
    body: dict[str, Any] | None = field(default=None, repr=False)
    dry_run: bool = False
    since: str = ""  # of a watch: the version to go on from

    @property
    def where(self) -> str:
        if self.action == "watch":
            return f"secrets of namespace {self.namespace}"
        return f"secret {self.namespace}/{self.secret}"

    @property
    def path(self) -> str:
        path = f"/api/v1/namespaces/{self.namespace}/secrets"
        if self.action == "watch":
            path += f"?watch=1&allowWatchBookmarks=true&timeoutSeconds={_WATCH_S}"
            return path + (f"&resourceVersion={quote(self.since)}" if self.since else "")
        if self.action != "create":
            path += f"/{self.secret}"
        if self.body is not None:
            path += "?fieldManager=occm" + ("&dryRun=All" if self.dry_run else "")
        return path


def _version(answer: dict[str, Any], request: _Request) -> str:
    try:
        return str(answer["metadata"]["resourceVersion"])
    except (KeyError, TypeError):
        raise _no_cluster(request) from None


def _legal(labels: Mapping[str, str]) -> dict[str, str]:
    """Trim what Kubernetes refuses in a label but OCCM allows in a certificate's name."""
    return {key: value[:63].strip("-_.") for key, value in labels.items()}


@contextmanager
def _explained(request: _Request) -> Iterator[None]:
    """Raise what keeps an answer from coming as an error of ours."""
    try:
        yield
    except NewConnectionError as error:  # which urllib3 derives from its timeouts
        raise _unreachable(request, "no connection") from error
    except RequestTimeout as error:
        raise TimedOut(
            f"{request.where}: the Kubernetes API did not answer in time: try again"
        ) from error
    except ApiException as error:  # raised by the client for TLS alone: statuses pass it by
        raise Unavailable(
            f"{request.where}: no TLS with the Kubernetes API: does its certificate belong to the"
            " CA configured, and ours to its?"
        ) from error
    except HTTPError as error:
        raise _unreachable(request, type(error).__name__) from error


def _unreachable(request: _Request, why: str) -> Unavailable:
    return Unavailable(
        f"{request.where}: the Kubernetes API cannot be reached ({why}):"
        " is it up, is the way to it open?"
    )


def _no_cluster(request: _Request) -> Unavailable:
    return Unavailable(
        f"{request.where}: what answered is not the Kubernetes API: correct the server's address"
    )
