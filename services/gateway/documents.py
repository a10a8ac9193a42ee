"""The description of the API (OpenAPI 3.1) and the page to browse it, both without the internet."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, cast

import msgspec
from litestar import Response, get
from litestar.exceptions import NotFoundException
from litestar.openapi import OpenAPIConfig, ResponseSpec
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import (
    Components,
    OpenAPIMediaType,
    OpenAPIResponse,
    OpenAPIType,
    Operation,
    Reference,
    RequestBody,
    Schema,
    SecurityScheme,
    Tag,
)
from litestar.params import FromPath

from libs.common.problems import CONTENT_TYPE, Problem
from services.gateway.bodies import AnyRequest

_SCHEMAS = "#/components/schemas/"
_FILES = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}
_START = 'SwaggerUIBundle({url: "schema/openapi.json", dom_id: "#page", deepLinking: true, validatorUrl: null});\n'
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Signalbox API</title>
<link rel="stylesheet" href="docs/swagger-ui.css"></head>
<body><div id="page"></div>
<script src="docs/swagger-ui-bundle.js"></script><script src="docs/start.js"></script></body></html>
"""

TENANT_SECURITY: list[dict[str, list[str]]] = [{"credential": [], "tenant": []}]
PLATFORM_SECURITY: list[dict[str, list[str]]] = [{"platform": []}]


def problems(*statuses: int) -> dict[int, ResponseSpec]:
    """The error answers of a handler, for its description. 401, 410 (an erased tenant), 429 and 503 may always come."""
    return {
        status: ResponseSpec(Problem, generate_examples=False, media_type=CONTENT_TYPE, description="Problem document")  # pyright: ignore[reportArgumentType]
        for status in (401, *statuses, 410, 429, 503)
    }


def answers(shape: Any) -> dict[int, ResponseSpec]:
    """The good answer of a handler that returns another type than its JSON has."""
    return {200: ResponseSpec(shape, generate_examples=False, description="Request fulfilled, document follows")}


@dataclass
class CsvToo(Operation):
    """Describes a handler that answers CSV to who asks for it."""

    def __post_init__(self) -> None:
        good = (self.responses or {})["200"]
        assert isinstance(good, OpenAPIResponse)
        as_csv = OpenAPIMediaType(schema=Schema(type=OpenAPIType.STRING))
        good.content = {**(good.content or {}), "text/csv": as_csv}


def takes(*shapes: type[msgspec.Struct] | None, required: bool = True) -> type[Operation]:
    """Describes the body that a handler reads itself: one of the shapes; `None`: any JSON object."""
    schemas = [
        Schema(type=cast("Any", "object")) if shape is None else Reference(ref=_SCHEMAS + shape.__name__)
        for shape in shapes
    ]
    schema = schemas[0] if len(schemas) == 1 else Schema(one_of=schemas)

    @dataclass
    class Described(Operation):
        def __post_init__(self) -> None:
            content = {"application/json": OpenAPIMediaType(schema=schema)}
            self.request_body = RequestBody(content=content, required=required)

    return Described


class _Description(JsonRenderPlugin):
    """The description as JSON, completed by the schemas of the bodies, which the framework does not know."""

    def __init__(self, bodies: Sequence[type[msgspec.Struct]]) -> None:
        super().__init__(path="/openapi.json")
        _, self._schemas = msgspec.json.schema_components(bodies, ref_template=_SCHEMAS + "{name}")

    def render(self, request: AnyRequest, openapi_schema: dict[str, Any]) -> bytes:
        components: dict[str, Any] = openapi_schema.get("components", {})
        schemas = {**self._schemas, **components.get("schemas", {})}
        document = {**openapi_schema, "components": {**components, "schemas": schemas}}
        return msgspec.json.encode(document)


def api_description(bodies: Sequence[type[msgspec.Struct]]) -> OpenAPIConfig:
    """How the framework describes the API; `bodies`: the shapes that handlers read themselves."""
    credential = "An API key of the tenant, or a token; `X-Tenant-ID` must name a tenant that it is for."
    return OpenAPIConfig(
        title="Signalbox",
        version="1",
        description="Workflow automation for the customers of a platform.",
        path="/schema",
        render_plugins=[_Description(bodies)],
        create_examples=False,
        tags=[
            Tag("Workflows"),
            Tag("Executions"),
            Tag("Queue"),
            Tag("Triggers"),
            Tag("Scheduled tasks"),
            Tag("Webhook calls"),
            Tag("Events"),
            Tag("Approvals"),
            Tag("Catalogue"),
            Tag("Data"),
            Tag("Notifications"),
            Tag("Secrets"),
            Tag("API keys"),
            Tag("Usage"),
            Tag("Audit"),
            Tag("Platform"),
        ],
        components=Components(
            security_schemes={
                "credential": SecurityScheme(type="http", scheme="bearer", description=credential),
                "tenant": SecurityScheme(type="apiKey", name="X-Tenant-ID", security_scheme_in="header"),
                "platform": SecurityScheme(type="http", scheme="bearer", description="The platform's key."),
            },
        ),
    )


@get("/docs", include_in_schema=False, sync_to_thread=False)
def show_page() -> Response[str]:
    """The page."""
    return Response(_PAGE, media_type="text/html; charset=utf-8")


@get("/docs/start.js", include_in_schema=False, sync_to_thread=False)
def show_start() -> Response[str]:
    """What fills the page; a file of its own, so that no inline script need be allowed."""
    return Response(_START, media_type="text/javascript; charset=utf-8")


@get("/docs/{name:str}", include_in_schema=False, sync_to_thread=False)
def show_file(name: FromPath[str]) -> Response[bytes]:
    """A file of the vendored Swagger UI."""
    if name not in _FILES:
        raise NotFoundException
    content = (files("services.gateway") / "swagger_ui" / name).read_bytes()
    return Response(content, media_type=f"{_FILES[name]}; charset=utf-8")
