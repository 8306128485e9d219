"""Who is let in, on a cluster: applications by their ServiceAccounts, others by keys that a Secret holds."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.release.installed import NAME, Installed, application

pytestmark = pytest.mark.cluster

APPLICATION = """
import json
from openai import OpenAI, AuthenticationError, NotFoundError
asked = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 4}
token = open("/var/run/secrets/gateway/token").read()
client = OpenAI(api_key=token, max_retries=0)
def outcome(client, model):
    try:
        return client.chat.completions.create(model=model, **asked).choices[0].finish_reason
    except (AuthenticationError, NotFoundError) as error:
        return error.status_code
models = sorted(model.id for model in client.models.list())
stranger = OpenAI(api_key="nobody", max_retries=0)
print(json.dumps([models, outcome(client, "llama3"), outcome(client, "coder"), outcome(stranger, "llama3")]))
"""


def _simulated(release: Installed) -> None:
    release.cluster.start_simulated("ollama", release.namespace, models="llama3:latest,codellama:13b")


def _with_token(manifest: dict[str, Any]) -> dict[str, Any]:
    """The application as docs/security.md shows it: with a token that is made for the gateway."""
    pod = manifest["spec"]["template"]["spec"]
    source = {"serviceAccountToken": {"audience": NAME, "expirationSeconds": 3600, "path": "token"}}
    pod["volumes"] = [{"name": "gateway-token", "projected": {"sources": [source]}}]
    mount = {"name": "gateway-token", "mountPath": "/var/run/secrets/gateway", "readOnly": True}
    pod["containers"][0]["volumeMounts"] = [mount]
    return manifest


def test_a_pod_calls_with_the_token_of_its_service_account(release: Installed) -> None:
    """The chart gives the one right that this takes; a rule gives the pod's namespace one model."""
    _simulated(release)
    rule = f'{{"match": {{"serviceaccount": "{release.namespace}/*"}}, "tenant": "red", "models": ["llama3"]}}'
    models = '{"llama3": {}, "coder": {"ollama": "codellama", "version": "13b"}}'
    settings = ("--set-json", f"config.callers=[{rule}]", "--set-json", f"config.models={models}")
    release.install("--set", "config.auth.methods={kubernetes}", *settings)
    job = _with_token(application("caller", APPLICATION, release.cluster.image("application")))
    assert json.loads(release.run(job)) == [["llama3"], "length", 404, 401]
    assert "Succeeded" in release.helm("test", NAME)  # which has nothing to show
    (line,) = (line for line in _access_lines(release) if line.get("tenant") == "red" and line.get("status") == 404)
    assert (line["caller"], line["auth"]) == (f"system:serviceaccount:{release.namespace}:default", "kubernetes")
    assert (line["outcome"], line["error"]) == ("denied", "model_not_found")


def _access_lines(release: Installed) -> list[dict[str, object]]:
    logs = release.kubectl("logs", f"deployment/{NAME}")
    records = [json.loads(line) for line in logs.splitlines() if line.startswith("{")]
    return [line for line in records if line.get("log") == "access"]


def test_keys_in_a_secret_are_rotated_and_revoked_live(release: Installed, tmp_path: Path) -> None:
    """No pod is started anew, and a key that is revoked is refused as soon as the kubelet has brought the file."""
    _simulated(release)
    file = tmp_path / "keys.yaml"
    first = _keys("create", "--name", "team-a", "--file", str(file))
    _write_secret(release, file)
    release.install("--set", "config.auth.methods={keys}", "--set", "auth.keysSecret.name=ai-gateway-keys")
    pods = set(release.pods())
    assert (_status(release, first), _status(release, "nobody")) == (200, 401)
    second = _keys("create", "--name", "team-a", "--file", str(file))
    _write_secret(release, file)
    release.until(lambda: _status(release, second) == 200)
    assert _status(release, first) == 200
    _keys("revoke", "--file", str(file), first[5:13])
    _write_secret(release, file)
    release.until(lambda: _status(release, first) == 401)
    assert _status(release, second) == 200
    assert set(release.pods()) == pods


def _keys(*arguments: str) -> str:
    command = [str(Path(sys.executable).with_name("ai-gateway")), "keys", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _write_secret(release: Installed, file: Path) -> None:
    """Writes it, and has the kubelet look at the pod now: it does so by itself within a minute and a half."""
    made = ("create", "secret", "generic", "ai-gateway-keys", f"--from-file={file}", "--dry-run=client", "-o", "yaml")
    release.kubectl("apply", "-f", "-", input=release.kubectl(*made))
    for pod in release.pods():
        release.kubectl("annotate", "pod", pod, f"looked-at={file.stat().st_mtime_ns}", "--overwrite")


def _status(release: Installed, key: str) -> int:
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.get(f"{release.url}/v1/models", headers=headers, trust_env=False).status_code
