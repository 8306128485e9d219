"""`helm install` without a value, beside Ollama pods of the usual chart: applications just work."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from tests.helm.running import HELMS
from tests.kubernetes.figures import tell
from tests.release.installed import NAME, NEXT, Installed

pytestmark = pytest.mark.cluster

MODELS = f"{NAME}-models"
NAMES = {"tiny": "llama3:latest", "plain": "codellama:13b", "embed": "nomic-embed-text:latest"}

APPLICATION = """
import json
from openai import OpenAI
client = OpenAI(max_retries=0)
asked = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 8, "temperature": 0}
chat = client.chat.completions.create(model="llama3", **asked)
stream = list(client.chat.completions.create(model="codellama:13b", stream=True, **asked))
vectors = client.embeddings.create(model="nomic-embed-text", input=["a cat", "a dog"])
print(json.dumps({
    "text": chat.choices[0].message.content, "finish": stream[-1].choices[0].finish_reason,
    "vectors": len(vectors.data), "models": sorted(model.id for model in client.models.list()),
}))
"""


def with_usual_models(release: Installed, replicas: int = 3) -> None:
    """Real Ollama pods that hold the tests' tiny models under the names of usual ones."""
    release.cluster.start_ollama("ollama", release.namespace, replicas=replicas)
    for address in release.cluster.pod_addresses("app.kubernetes.io/name=ollama", release.namespace).values():
        for source, name in NAMES.items():
            copied = httpx.post(
                f"http://{address}:11434/api/copy",
                json={"source": source, "destination": name},
                trust_env=False,
                timeout=30,
            )
            assert copied.status_code == 200, copied.text


def test_without_values_an_application_chats_streams_and_embeds(
    release: Installed, request: pytest.FixtureRequest
) -> None:
    """By the Service's name, in a namespace of the restricted level; `helm test` agrees; nothing stays behind."""
    with_usual_models(release)
    notes = release.install()
    assert f"OPENAI_BASE_URL=http://{NAME}" in notes
    answer = json.loads(release.job("application", APPLICATION))
    assert answer["text"]
    assert (answer["finish"], answer["vectors"]) == ("length", 2)
    assert set(answer["models"]) >= set(NAMES.values())
    assert "Served: every model that an Ollama holds" in notes
    health = httpx.get(f"{release.url}/v1/health", trust_env=False).json()
    assert {endpoint["pod"].startswith(f"{release.namespace}/ollama-") for endpoint in health["endpoints"]} == {True}
    assert len(health["endpoints"]) == 3
    assert "Succeeded" in release.helm("test", NAME)
    tell(request, f"ready {_ready_seconds(release):.0f} s after it was started, by the pod's own times")
    release.helm("uninstall", NAME, "--wait")
    release.until(lambda: not _left(release), 90)  # its pod leaves with patience, and half a minute later the test's


def _ready_seconds(release: Installed) -> float:
    """From the start of the container to the pod's Ready, in whole seconds as the API tells them."""
    (pod,) = release.pods().values()
    started = pod["status"]["containerStatuses"][0]["state"]["running"]["startedAt"]
    (ready,) = (c["lastTransitionTime"] for c in pod["status"]["conditions"] if c["type"] == "Ready")
    return (datetime.fromisoformat(ready) - datetime.fromisoformat(started)).total_seconds()


def _left(release: Installed) -> list[str]:
    """What of the release the namespace still holds."""
    kinds = "all,configmap,secret,serviceaccount,role,rolebinding,pdb,ingress,networkpolicy,pvc"
    found = release.get(kinds, "-l", f"app.kubernetes.io/instance={NAME}")["items"]
    return [f"{one['kind']}/{one['metadata']['name']}" for one in found]


def _models(release: Installed) -> dict[str, Any]:
    content = release.kubectl("get", "configmap", MODELS, "-o", r"jsonpath={.data.config\.yml}")
    models: dict[str, Any] = yaml.safe_load(content)["models"]
    return models


def _served(release: Installed) -> list[str]:
    listed = httpx.get(f"{release.url}/v1/models", trust_env=False).json()
    return sorted(model["id"] for model in listed["data"])


@pytest.mark.parametrize("version", HELMS)
def test_an_edit_survives_an_upgrade_of_the_image(release: Installed, version: str, tmp_path: Path) -> None:
    """Edited by kubectl, in force at once; then another image, other models, and back."""
    release.version = version
    release.cluster.start_simulated("ollama", release.namespace, models="llama3:latest,codellama:13b,phi:mini")
    release.install()
    editor = tmp_path / "editor"
    editor.write_text(
        "#!/bin/sh\nsed -i 's/^\\( *\\)tls: none/\\1models: {mine: {ollama: llama3}}\\n\\1tls: none/' \"$1\"\n"
    )
    editor.chmod(0o755)
    release.edit(MODELS, editor)
    release.until(lambda: "mine" in _served(release))
    release.upgrade("--set", f"image.tag={NEXT}")
    assert "mine" in _models(release)
    assert "mine" in _served(release)
    # The values change the models now, and the edit gives way; Helm 4 wants a flag for that.
    force = ["--force-conflicts"] if version == "helm4" else []
    release.upgrade("--set", f"image.tag={NEXT}", "--set", "config.models.phi.version=mini", *force)
    release.until(lambda: _served(release) == ["phi"])
    release.helm("rollback", NAME, "1", "--wait", *force)
    release.until(lambda: "codellama:13b" in _served(release))
    release.helm("uninstall", NAME, "--wait")
