"""Bodies of OTLP/HTTP: what a request sends, plain, and answers in the encoding of the request.

The one idea is that every answer of these addresses, a refusal of a stranger too, is one that an
exporter of OpenTelemetry can read: a google.rpc.Status in protobuf, or in JSON.
"""

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response

from flywheel.traces.otlp_wire import Encoding, encode_answer, encode_status, encoding_of

# The standard's path, and the one that Langfuse's SDK adds to its host.
PATHS = ("/v1/traces", "/api/public/otel/v1/traces")
_MEDIA: Mapping[Encoding, str] = {
    "protobuf": "application/x-protobuf",
    "json": "application/json",
}


def is_otlp(request: Request) -> bool:
    """Whether a request is for an address that exporters of OpenTelemetry use."""
    return request.url.path in PATHS


def otlp_answer(encoding: Encoding, rejected: Mapping[str, int]) -> Response:
    """What an exporter is told when its spans are committed, and how many were not taken."""
    return Response(encode_answer(encoding, rejected), media_type=_MEDIA[encoding])


def otlp_fault(request: Request, status: int, sentence: str) -> Response:
    """What an exporter is told instead; what cannot be used is a 400 here, as the standard says."""
    status = 400 if status == 422 else status
    encoding = encoding_of(request.headers.get("content-type", "")) or "json"
    return Response(encode_status(encoding, status, sentence), status, media_type=_MEDIA[encoding])
