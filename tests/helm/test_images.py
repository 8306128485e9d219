"""The names of images, however somebody writes registry, tag and digest."""

from typing import Any

import pytest
from tests.cluster.control_plane import ControlPlane
from tests.helm.judging import judged_by_server_side_apply
from tests.helm.pods import pods
from tests.helm.running import HELMS, rendered
from tools.chart.files import metadata

pytestmark = pytest.mark.cluster

DIGEST = f"sha256:{'0123456789abcdef' * 4}"
VERSION = metadata()["appVersion"]
NAMES: list[tuple[dict[str, Any], str]] = [
    ({}, f"ai-gateway-ollama:{VERSION}"),
    ({"image": {"registry": "registry.example/"}}, f"registry.example/ai-gateway-ollama:{VERSION}"),
    ({"global": {"imageRegistry": "registry.example//"}}, f"registry.example/ai-gateway-ollama:{VERSION}"),
    ({"global": {"imageRegistry": "mirror:5000/all/"}}, f"mirror:5000/all/ai-gateway-ollama:{VERSION}"),
    (
        {"global": {"imageRegistry": "mirror.example"}, "image": {"registry": "registry.example"}},
        f"mirror.example/ai-gateway-ollama:{VERSION}",
    ),
    ({"image": {"repository": "ghcr.io/team/gateway"}}, f"ghcr.io/team/gateway:{VERSION}"),
    ({"image": {"repository": "localhost/gateway/"}}, f"localhost/gateway:{VERSION}"),
    ({"image": {"repository": "/team/gateway"}}, f"team/gateway:{VERSION}"),
    (
        {"global": {"imageRegistry": "mirror.example/proxy"}, "image": {"repository": "ghcr.io/team/gateway"}},
        f"mirror.example/proxy/team/gateway:{VERSION}",
    ),
    (
        {"image": {"registry": "mirror.example", "repository": "registry:5000/gateway"}},
        f"mirror.example/gateway:{VERSION}",
    ),
    (
        {"global": {"imageRegistry": "mirror.example"}, "image": {"repository": "team/gateway"}},
        f"mirror.example/team/gateway:{VERSION}",
    ),
    ({"image": {"tag": "1.2"}}, "ai-gateway-ollama:1.2"),
    ({"image": {"tag": f"1.2@{DIGEST}"}}, f"ai-gateway-ollama:1.2@{DIGEST}"),
    ({"image": {"tag": f"@{DIGEST}"}}, f"ai-gateway-ollama@{DIGEST}"),
    ({"image": {"tag": f"1.2@{DIGEST}", "digest": DIGEST}}, f"ai-gateway-ollama:1.2@{DIGEST}"),
    ({"image": {"tag": "1.2", "digest": DIGEST}}, f"ai-gateway-ollama@{DIGEST}"),
    ({"image": {"digest": DIGEST}}, f"ai-gateway-ollama@{DIGEST}"),
]


@pytest.mark.parametrize(("values", "name"), NAMES, ids=[name for _, name in NAMES])
def test_an_image_is_named_as_it_is_meant(judge: ControlPlane, values: dict[str, Any], name: str) -> None:
    """The gateway's by `image`, Ollama's by `ollama.image`: both by the same rules."""
    image = {"repository": "ai-gateway-ollama", "tag": VERSION, **values.get("image", {})}
    both = {**values, "ollama": {"enabled": True, "image": image}}
    for version in HELMS:
        objects = rendered(version, values=both)
        judged_by_server_side_apply(judge, objects)
        assert {container["image"] for pod in pods(objects) for container in pod.containers} == {name}
