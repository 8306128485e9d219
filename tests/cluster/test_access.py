"""Which files say how to reach a cluster, and which namespace is the gateway's own."""

from pathlib import Path

import pytest
import yaml

from ai_gateway.cluster.access import Access


def kubeconfig(path: Path, current: str | None, **namespaces: str | None) -> Path:
    """A kubeconfig with a context for each namespace."""
    contexts = [
        {"name": name, "context": {"cluster": "c", **({"namespace": value} if value else {})}}
        for name, value in namespaces.items()
    ]
    path.write_text(yaml.safe_dump({"contexts": contexts, **({"current-context": current} if current else {})}))
    return path


def test_a_mounted_token_means_in_cluster_unless_a_flag_names_a_cluster(tmp_path: Path) -> None:
    (tmp_path / "token").touch()
    assert Access(service_account=tmp_path).is_in_cluster
    assert not Access(context="staging", service_account=tmp_path).is_in_cluster
    assert not Access(service_account=tmp_path / "none").is_in_cluster


def test_the_namespace_in_a_pod_is_the_pods(tmp_path: Path) -> None:
    """`default` where the file is missing."""
    (tmp_path / "token").touch()
    assert Access(service_account=tmp_path).namespace() == "default"
    (tmp_path / "namespace").write_text("ai\n")
    assert Access(service_account=tmp_path).namespace() == "ai"


def test_the_namespace_outside_is_the_contexts(tmp_path: Path) -> None:
    """The current one, or the one that is named; `default` where it says nothing."""
    path = str(kubeconfig(tmp_path / "config", "a", a="ai", b="other", c=None))
    nowhere = tmp_path / "none"
    assert Access(path, service_account=nowhere).namespace() == "ai"
    assert Access(path, "b", nowhere).namespace() == "other"
    assert Access(path, "c", nowhere).namespace() == "default"
    assert Access(path, "no-such", nowhere).namespace() == "default"
    assert Access(service_account=nowhere, usual_kubeconfig=path).namespace() == "ai"


def test_several_kubeconfigs_are_one(tmp_path: Path) -> None:
    """As kubectl reads the setting; a file that is missing or no YAML says nothing."""
    (tmp_path / "odd").write_text("{")
    second = kubeconfig(tmp_path / "second", None, b="other")
    first = kubeconfig(tmp_path / "first", "b", a="ai")
    named = f"{tmp_path / 'missing'}:{tmp_path / 'odd'}:{first}:{second}"
    assert Access(named, service_account=tmp_path / "none").namespace() == "other"


def test_a_tilde_in_a_kubeconfig_path_means_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No shell has seen the default. An empty part of the list is no file."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Access().kubeconfig_files == [tmp_path / ".kube/config"]
    assert Access("~/a:/b::").kubeconfig_files == [tmp_path / "a", Path("/b")]


def test_a_named_kubeconfig_overrides_the_usual_one() -> None:
    assert Access("/named", usual_kubeconfig="/usual").kubeconfig_files == [Path("/named")]
    assert Access(usual_kubeconfig="/usual").kubeconfig_files == [Path("/usual")]


@pytest.mark.parametrize(
    ("access", "is_named"),
    [(Access(), False), (Access(usual_kubeconfig="/usual"), False), (Access("/x"), True), (Access(context="x"), True)],
)
def test_only_flags_name_a_cluster(access: Access, is_named: bool) -> None:
    """Without a flag, the default kubeconfig names no cluster."""
    assert access.is_named == is_named


def test_the_first_current_context_of_several_files_counts(tmp_path: Path) -> None:
    """As kubectl joins them."""
    for name, current in (("one", "a"), ("two", "b")):
        (tmp_path / name).write_text(
            f"current-context: {current}\ncontexts: [{{name: {current}, context: {{namespace: of-{current}}}}}]\n"
        )
    both = f"{tmp_path / 'one'}:{tmp_path / 'two'}"
    assert Access(both, service_account=tmp_path / "none").namespace() == "of-a"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00\xff",
        b"[]",
        b"contexts: null",
        b"contexts: [1, x, null]",
        b"current-context: x\ncontexts: [{name: x, context: null}]",
        b"current-context: x\ncontexts: [{name: x, context: {namespace: ''}}]",
    ],
)
def test_a_kubeconfig_without_a_namespace_means_the_default(tmp_path: Path, content: bytes) -> None:
    """The library reports the details when it connects."""
    path = tmp_path / "config"
    path.write_bytes(content)
    assert Access(str(path), service_account=tmp_path / "none").namespace() == "default"


@pytest.mark.parametrize("contexts", ["contexts: 5", "contexts: [5]", "contexts: [{name: a, context: x}]"])
def test_an_invalid_kubeconfig_means_the_default_namespace(tmp_path: Path, contexts: str) -> None:
    """The library reports the details when it connects."""
    (tmp_path / "config").write_text(f"current-context: a\n{contexts}\n")
    assert Access(str(tmp_path / "config"), service_account=tmp_path / "none").namespace() == "default"
