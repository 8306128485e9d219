"""`helm test` against a real release: what it says, and that nothing of it stays."""

import pytest
from tests.helm.running import HELMS, HelmRefuses
from tests.release.installed import NAME, Installed

pytestmark = pytest.mark.cluster

TESTS = "app.kubernetes.io/component=test"
GONE_SECONDS = 90  # the Job goes half a minute after it has ended, and its pod with it


def _left(release: Installed) -> list[str]:
    return [f"{one['kind']}/{one['metadata']['name']}" for one in release.get("jobs,pods", "-l", TESTS)["items"]]


@pytest.mark.parametrize("version", HELMS)
def test_one_that_succeeds_can_be_read_and_leaves_nothing(release: Installed, version: str) -> None:
    """Twice, since the second finds the pod of the first; uninstalled right after it. No sidecar is asked for."""
    release.version = version
    release.cluster.start_simulated("ollama", release.namespace, models="llama3:latest")
    release.install("--set-string", r"tests.podLabels.sidecar\.istio\.io/inject=false")
    for _ in range(2):
        said = release.helm("test", NAME, "--logs")
        assert "Succeeded" in said
        assert f"http://{NAME}:8080/v1/models: 200 " in said
        assert "gateway ok, ollama " in said
    assert "Pod/ai-gateway-ollama-test" in _left(release)
    release.helm("uninstall", NAME, "--wait")
    release.until(lambda: not _left(release), GONE_SECONDS)


@pytest.mark.parametrize("version", HELMS)
def test_one_that_fails_says_why_and_leaves_nothing(release: Installed, version: str) -> None:
    """There is no Ollama with that label."""
    release.version = version
    release.install("--set", "discovery.labelSelector=app=nowhere,tests.timeoutSeconds=3")
    with pytest.raises(HelmRefuses) as refused:
        release.helm("test", NAME)
    assert "ollama unavailable" in str(refused.value)
    assert "discovery: seen: 0" in str(refused.value)
    release.helm("uninstall", NAME, "--wait")
    assert _left(release) == []


def test_none_is_needed_where_the_values_say_so(release: Installed) -> None:
    release.install("--set", "tests.requireEndpoints=false")
    assert "Succeeded" in release.helm("test", NAME)
