"""Which files say how a cluster is reached.

Namespaces, and whether this is a pod, are in `test_small_parts.py`; what is sent with them in `test_api.py`.
"""

from pathlib import Path

import pytest

from ai_gateway.cluster.access import Access


def test_the_home_folder_is_meant_by_a_tilde(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No shell has seen the default. An empty part of the list is no file."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Access().kubeconfig_files == [tmp_path / ".kube/config"]
    assert Access("~/a:/b::").kubeconfig_files == [tmp_path / "a", Path("/b")]


def test_a_kubeconfig_that_is_named_goes_before_the_usual_one() -> None:
    assert Access("/named", usual_kubeconfig="/usual").kubeconfig_files == [Path("/named")]
    assert Access(usual_kubeconfig="/usual").kubeconfig_files == [Path("/usual")]


@pytest.mark.parametrize(
    ("access", "is_named"),
    [(Access(), False), (Access(usual_kubeconfig="/usual"), False), (Access("/x"), True), (Access(context="x"), True)],
)
def test_only_a_person_names_a_cluster(access: Access, is_named: bool) -> None:
    """What kubectl would use is not looked at without being asked to."""
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
def test_a_kubeconfig_that_says_no_namespace_means_the_default(tmp_path: Path, content: bytes) -> None:
    """The library that connects complains in full."""
    path = tmp_path / "config"
    path.write_bytes(content)
    assert Access(str(path), service_account=tmp_path / "none").namespace() == "default"
