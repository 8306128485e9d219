"""Which function serves which method and path, and gin's answers if none does."""

from ai_gateway.simulator.inference import Inference
from ai_gateway.simulator.native_api import NativeApi
from ai_gateway.simulator.openai_api import OpenAIApi
from ai_gateway.simulator.pod import Call, Handler, Pod
from ai_gateway.simulator.store_api import StoreApi
from ai_gateway.wire.operations import OPERATIONS

Routes = dict[str, dict[str, Handler]]  # by path, then by method; a path may end in one parameter "/:"

_PARAMETER_PATHS = ("/v1/models/", "/api/blobs/")


def routes_of(pod: Pod) -> Routes:
    """The whole table."""
    inference = Inference(pod)
    native, openai, store = NativeApi(pod, inference), OpenAIApi(pod, inference), StoreApi(pod)
    return {
        "/": {"GET": native.root, "HEAD": native.root},
        "/api/version": {"GET": native.version, "HEAD": native.version},
        "/api/status": {"GET": native.status},
        "/api/tags": {"GET": native.tags, "HEAD": native.tags},
        "/api/ps": {"GET": native.ps},
        "/api/show": {"POST": native.show},
        "/api/generate": {"POST": native.generate},
        "/api/chat": {"POST": native.chat},
        "/api/embed": {"POST": native.embed},
        "/api/embeddings": {"POST": native.embeddings},
        "/api/pull": {"POST": store.pull},
        "/api/create": {"POST": store.create},
        "/api/copy": {"POST": store.copy},
        "/api/delete": {"DELETE": store.delete},
        "/api/blobs/:": {"HEAD": store.has_blob, "POST": store.add_blob},
        **{row.path: {"POST": openai.answer_to(row)} for row in OPERATIONS.values()},
        "/v1/models": {"GET": openai.models},
        "/v1/models/:": {"GET": openai.model},
    }


def find_methods(routes: Routes, path: str) -> dict[str, Handler]:
    """The methods that a path has; none if it is unknown."""
    methods = routes.get(path)
    if methods is not None:
        return methods
    start, _, rest = path.rpartition("/")
    if rest and f"{start}/" in _PARAMETER_PATHS:
        return routes[f"{start}/:"]
    return {}


async def dispatch(routes: Routes, call: Call) -> None:
    """Runs the route's function; else redirects a trailing slash, or answers 405 or 404 in plain text, as gin does."""
    method, path = call.request.method, call.request.path
    methods = find_methods(routes, path)
    if method in methods:
        await methods[method](call)
        return
    other = path.removesuffix("/") if path.endswith("/") else f"{path}/"
    if path != "/" and method in find_methods(routes, other):
        status = 301 if method == "GET" else 307
        call.answer.whole(status, "text/html; charset=utf-8" if method == "GET" else "", b"", (("Location", other),))
    elif methods:
        allow = (("Allow", ", ".join(methods)),)
        call.answer.whole(405, "text/plain", b"405 method not allowed", allow)
    else:
        call.answer.whole(404, "text/plain", b"404 page not found")
