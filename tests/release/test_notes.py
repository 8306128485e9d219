"""The lines of NOTES that try the gateway work as they are printed, by kubectl and curl on a person's machine."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.cluster.binaries import binary
from tests.config.pem_files import write_pair
from tests.ports import free_port
from tests.release.installed import NAME, Installed
from tests.release.test_sidecars import beside_ollama
from tools.chart.files import CHART

pytestmark = pytest.mark.cluster


def _lines(notes: str) -> list[str]:
    """The paragraph's commands, in order."""
    block = notes.partition("To try it from your machine")[2].partition("\nOllama:")[0]
    return [line.strip() for line in block.splitlines() if line.startswith("  ") and not line.startswith("  #")]


def _environment(release: Installed, folder: Path) -> dict[str, str]:
    (folder / "bin").mkdir(exist_ok=True)
    if not (folder / "bin" / "kubectl").exists():
        (folder / "bin" / "kubectl").symlink_to(binary("kubectl"))
    path = f"{folder / 'bin'}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "KUBECONFIG": str(release.cluster.kubeconfig), "no_proxy": "localhost"}


@contextmanager
def _forwarded(command: str, environment: dict[str, str]) -> Iterator[None]:
    """The first terminal."""
    words = ["/bin/sh", "-c", f"exec {command}"]
    process = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    said = process.stdout.readline()
    try:
        assert "Forwarding from" in said, said
        yield
    finally:
        process.terminate()
        process.communicate(timeout=30)


def _tried(release: Installed, notes: str, folder: Path) -> tuple[list[str], str, str]:
    """The models that the second line lists, what the last answers, and the error of a call without a key."""
    environment, port = _environment(release, folder), free_port()
    forward, *rest = (line.replace("8080:", f"{port}:", 1) for line in _lines(notes))
    rest = [line.replace("localhost:8080", f"localhost:{port}").replace("curl ", "curl --silent ", 1) for line in rest]

    def run(lines: list[str]) -> dict[str, object]:
        words = ["/bin/bash", "-euc", "\n".join(lines)]
        ended = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert ended.returncode == 0, ended.stderr
        answer: dict[str, object] = json.loads(ended.stdout)
        return answer

    *keys, models, chat = rest
    with _forwarded(forward, environment):
        listed = run([*keys, models])["data"]
        assert isinstance(listed, list)
        ids = [model["id"] for model in listed]
        short = chat.replace("MODEL", ids[0]).replace('"messages"', '"max_tokens": 4, "messages"')
        answer = run([*keys, short])["choices"]
        assert isinstance(answer, list)
        stranger = run([models.replace('-H "authorization: Bearer $AI_GATEWAY_KEY" ', "")]).get("error", {})
        assert isinstance(stranger, dict)
    return ids, str(answer[0]["message"]["content"]), str(stranger.get("code", ""))


@pytest.mark.parametrize("values", [(), ("--set=service.port=80",)], ids=["plain", "port"])
def test_without_values_they_answer(release: Installed, values: tuple[str, ...], tmp_path: Path) -> None:
    release.cluster.start_simulated("ollama", release.namespace, models="llama3:latest")
    ids, content, _ = _tried(release, release.install(*values), tmp_path)
    assert len(ids) == 1
    assert content


def test_with_a_file_of_models_alone_keys_and_tls_of_the_values_are_asked_for(
    release: Installed, tmp_path: Path
) -> None:
    release.cluster.start_simulated("ollama", release.namespace, models="llama3:latest")
    (tmp_path / "models.yml").write_text("# ours\nmodels: {llama3: {}}\n")
    certificate, key = write_pair(tmp_path)
    release.kubectl("create", "secret", "tls", "ours", f"--cert={certificate}", f"--key={key}")
    notes = release.install(
        f"--set-file=config.content={tmp_path / 'models.yml'}",
        *("--set=config.auth.methods={kubernetes}", "--set=tls.enabled=true", "--set=tls.existingSecret=ours"),
    )
    ids, content, code = _tried(release, notes, tmp_path)
    assert ids == ["llama3"]
    assert content
    assert code == "unauthorized"


def test_beside_ollama_they_answer(release: Installed, tmp_path: Path) -> None:
    notes = release.install(*beside_ollama(release))
    ids, content, _ = _tried(release, notes, tmp_path)
    assert ids == ["llama3"]
    assert content


def test_a_config_map_of_ones_own_without_what_the_values_turn_on_serves_no_call(release: Installed) -> None:
    """Until it says it, in the words that NOTES give."""
    release.cluster.start_simulated("ollama", release.namespace, models="llama3:latest")
    release.kubectl("create", "configmap", "ours", "--from-literal=config.yml=models: {llama3: {}}")
    own = ("--set=config.existingConfigMap=ours", "--set=config.auth.methods={kubernetes}")
    notes = release.helm("install", NAME, str(CHART), *own)
    release.until(lambda: "auth" in release.kubectl("get", "events"))
    assert not release.is_ready(1)
    said = notes.partition("Write it into the ConfigMap too:\n\n")[2].partition("\n\n")[0]
    text = "models: {llama3: {}}\n" + "\n".join(line[2:] for line in said.splitlines())
    patch = json.dumps({"data": {"config.yml": text}})
    release.kubectl("patch", "configmap", "ours", f"--patch={patch}")
    release.until(lambda: release.is_ready(1))
