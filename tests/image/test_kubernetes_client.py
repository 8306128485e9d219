"""The Kubernetes client still does all that the gateway asks of it, although most of its files are gone."""

import http.server
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme
import yaml
from tests.image.built import Built
from tests.image.running import run

pytestmark = pytest.mark.cluster

MODULES = (
    "kubernetes.client.api_client",
    "kubernetes.client.configuration",
    "kubernetes.client.exceptions",
    "kubernetes.config.config_exception",
    "kubernetes.config.incluster_config",
    "kubernetes.config.kube_config",
)
ASK = """
import sys
from ai_gateway.cluster.access import Access
from ai_gateway.cluster.api import ApiServer, StatusFailure, Unreachable
api = ApiServer(Access(*sys.argv[1:]))
print(api.get("/api/v1/namespaces/ai/pods", {"limit": "1"}, 5).decode())
with api.stream("/api/v1/watch", {"watch": "1"}, 5) as stream:
    print(next(stream.lines()).decode())
print(api.send("PATCH", "/api/v1/namespaces/ai/events/one", {"count": 2}, 5).decode())
try:
    api.get("/forbidden", {}, 5)
except StatusFailure as refused:
    print(refused.status, refused)
"""
FORBIDDEN = {"kind": "Status", "code": 403, "message": "not for you"}


class _Api(http.server.BaseHTTPRequestHandler):
    """Answers with what it was asked, to whoever brings the token."""

    def do_GET(self) -> None:
        is_known = (
            self.headers["Authorization"] in ("Bearer of-the-test", "bearer of-the-test") and self.path != "/forbidden"
        )
        body = json.dumps({"asked": f"{self.command} {self.path}"} if is_known else FORBIDDEN).encode() + b"\n"
        self.send_response(200 if is_known else 403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_PATCH(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@contextmanager
def _api_server(authority: trustme.CA) -> Iterator[int]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Api) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def _expected() -> list[str]:
    asked = (
        "GET /api/v1/namespaces/ai/pods?limit=1",
        "GET /api/v1/watch?watch=1",
        "PATCH /api/v1/namespaces/ai/events/one",
    )
    return [*(json.dumps({"asked": line}) for line in asked), "403 403 not for you"]


@pytest.fixture
def mounted(tmp_path: Path) -> Path:
    """A folder that the image's user may read."""
    tmp_path.chmod(0o755)
    return tmp_path


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line]


@pytest.mark.parametrize("module", MODULES)
def test_a_module_that_the_gateway_uses_can_be_imported_alone(image: Built, module: str) -> None:
    done = run(image.root, image.config(), ["-W", "error", "-c", f"import {module}"], program=["python3"])
    assert (done.returncode, done.stderr) == (0, "")


def test_it_reaches_the_api_with_a_pods_service_account(image: Built, mounted: Path) -> None:
    authority = trustme.CA()
    (mounted / "token").write_text("of-the-test")
    (mounted / "namespace").write_text("ai")
    authority.cert_pem.write_to_path(mounted / "ca.crt")
    with _api_server(authority) as port:
        env = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(port)}
        mounts = {"/var/run/secrets/kubernetes.io/serviceaccount": mounted}
        done = run(image.root, image.config(), ["-c", ASK], program=["python3"], env=env, mounts=mounts)
    assert (_lines(done.stdout), done.stderr) == (_expected(), "")


def test_it_reaches_the_api_with_a_kubeconfig(image: Built, mounted: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(mounted / "ca.crt")
    with _api_server(authority) as port:
        server = {"server": f"https://127.0.0.1:{port}", "certificate-authority": "/kube/ca.crt"}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{"name": "test", "cluster": server}],
            "users": [{"name": "test", "user": {"token": "of-the-test"}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        }
        (mounted / "config").write_text(yaml.safe_dump(content))
        words = ["-c", ASK, "/kube/config", "test"]
        done = run(image.root, image.config(), words, program=["python3"], mounts={"/kube": mounted})
    assert (_lines(done.stdout), done.stderr) == (_expected(), "")
