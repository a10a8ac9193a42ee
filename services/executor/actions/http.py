"""`http_request`: calls an HTTP endpoint through the guarded client and keeps the answer.

Every attempt of one action carries the same `Idempotency-Key`, so that an endpoint that knows the header does the
work once, however often a crash or a retry repeats the call. A status of 400 or more fails the attempt unless
`success_status` says otherwise.
"""

import base64
from typing import Any

import msgspec

from libs.common.domain.action_config import read_config
from libs.common.domain.configs.http import BasicAuth, BearerAuth, HeaderAuth, HttpAuth, HttpRequestConfig
from libs.common.security.http_client import OutgoingRequest
from services.executor.actions.base import Attempt
from services.executor.actions.bodies import as_text, encode_body, pairs
from services.executor.actions.client import ERROR_STATUS, GuardedClient, with_our_headers

NAME = "http_request"


class HttpAction:
    """The action."""

    def __init__(self, client: GuardedClient) -> None:
        self._client = client

    async def run(self, config: dict[str, Any], attempt: Attempt) -> Any:
        """Call the endpoint; the output is its answer. Raises `ActionFailed`."""
        wanted: HttpRequestConfig = read_config(config, HttpRequestConfig)
        response = await self._client.send(build_request(wanted, attempt), attempt)
        if not _is_success(wanted, response.status):
            raise self._client.refusal(response)
        return msgspec.to_builtins(response)


def build_request(wanted: HttpRequestConfig, attempt: Attempt) -> OutgoingRequest:
    """The request of a rendered config. Raises `ActionFailed` for a body that cannot be written."""
    body, content_type = encode_body(wanted)
    given = {name: as_text(value) for name, value in wanted.headers.items() if value is not None}
    if wanted.multipart is not None:  # only we know the boundary
        given = {name: value for name, value in given.items() if name.lower() != "content-type"}
    headers = with_our_headers(given, attempt, content_type)
    if wanted.auth is not None:
        credential = _auth_header(wanted.auth)
        headers = {name: value for name, value in headers.items() if name.lower() not in credential} | credential
    return OutgoingRequest(
        wanted.method.upper(), wanted.url, headers, attempt.timeout_seconds, pairs(wanted.query), body,
        wanted.follow_redirects, wanted.max_response_bytes, wanted.verify_tls, wanted.response,
    )  # fmt: skip


def basic_auth(username: str, password: str) -> str:
    """The value of `Authorization` by RFC 7617."""
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


def _auth_header(auth: HttpAuth) -> dict[str, str]:
    """The header, its name in lower case."""
    match auth:
        case BearerAuth(token):
            return {"authorization": f"Bearer {token}"}
        case BasicAuth(username, password):
            return {"authorization": basic_auth(username, password)}
        case HeaderAuth(name, value):
            return {name.lower(): value}


def _is_success(wanted: HttpRequestConfig, status: int) -> bool:
    if wanted.success_status is None:
        return status < ERROR_STATUS
    good = {str(one) for one in wanted.success_status}
    return str(status) in good or f"{status // 100}xx" in good
