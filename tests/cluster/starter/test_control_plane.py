"""Promises of the control plane that tests start for themselves."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from tests.cluster.control_plane import ControlPlane, kubectl
from tests.cluster.part import CannotStart

CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
STARTS_ONE_AND_WAITS = """
import sys
from pathlib import Path
from tests.cluster.control_plane import ControlPlane

with ControlPlane(Path(sys.argv[1])) as plane:
    plane.pause_apiserver()
    print("paused", flush=True)
    sys.stdin.read()
"""


@pytest.mark.cluster
def test_a_service_account_may_do_what_its_role_says_and_nothing_else(control_plane: ControlPlane) -> None:
    control_plane.kubectl("create", "serviceaccount", "gateway")
    control_plane.kubectl("create", "role", "reader", "--verb=get,list", "--resource=pods")
    control_plane.kubectl("create", "rolebinding", "reader", "--role=reader", "--serviceaccount=default:gateway")
    token = control_plane.service_account_token("default", "gateway", 600)
    kubeconfig = control_plane.kubeconfig_for(token)
    kubectl(kubeconfig, "get", "pods")
    with pytest.raises(AssertionError, match=r"cannot list resource .*configmaps"):
        kubectl(kubeconfig, "get", "configmaps")


@pytest.mark.cluster
def test_an_outage_ends_with_the_same_address_and_the_same_objects(control_plane: ControlPlane) -> None:
    control_plane.kubectl("create", "configmap", "kept")
    control_plane.kill_apiserver()
    with pytest.raises(httpx.ConnectError):
        control_plane.client.get(CONFIGMAPS)
    control_plane.start_apiserver()
    assert "configmap/kept" in control_plane.kubectl("get", "configmaps", "-o", "name")


@pytest.mark.cluster
def test_a_paused_api_keeps_its_connections_and_answers_when_resumed(control_plane: ControlPlane) -> None:
    control_plane.pause_apiserver()
    with pytest.raises(httpx.ReadTimeout):
        control_plane.client.get(CONFIGMAPS, timeout=0.5)
    control_plane.resume_apiserver()
    assert control_plane.client.get(CONFIGMAPS).status_code == 200


@pytest.mark.cluster
def test_after_compaction_a_watch_from_an_old_version_is_gone(control_plane: ControlPlane) -> None:
    version = control_plane.client.get(CONFIGMAPS).json()["metadata"]["resourceVersion"]
    control_plane.kubectl("create", "configmap", "newer")
    control_plane.compact_etcd()
    watch = {"watch": "1", "resourceVersion": version, "timeoutSeconds": 5}
    with control_plane.client.stream("GET", CONFIGMAPS, params=watch) as reply:
        assert '"code":410' in next(reply.iter_lines())


@pytest.mark.cluster
def test_it_ends_with_the_process_that_started_it_even_paused(tmp_path: Path) -> None:
    command = [sys.executable, "-c", STARTS_ONE_AND_WAITS, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as starter:
        assert starter.stdout is not None
        assert starter.stdout.readline() == b"paused\n"
        started = _mentioning(tmp_path, but=starter.pid)
        watching = [os.pidfd_open(pid) for pid in started]
        os.kill(starter.pid, signal.SIGKILL)
    for process in watching:
        assert _ends(process)
    assert len(started) == 2  # etcd and the API server


def test_a_part_that_cannot_start_is_named_and_its_last_words_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("etcd", "kube-apiserver", "kubectl"):
        tool = tmp_path / "assets" / name
        tool.parent.mkdir(exist_ok=True)
        tool.write_text("#!/bin/sh\necho the disk is on fire\nexit 1\n")
        tool.chmod(0o755)
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path / "assets"))
    with pytest.raises(CannotStart, match="etcd did not start") as failure, ControlPlane(tmp_path / "plane"):
        pass
    assert "the disk is on fire" in str(failure.value)


def _mentioning(folder: Path, but: int) -> list[int]:
    """The processes that have the folder in their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if str(folder).encode() in (path / "cmdline").read_bytes():
                found.append(int(path.name))
        except OSError:
            continue  # it ended while we looked
    return [pid for pid in found if pid != but]


def _ends(process: int) -> bool:
    """Whether the process of that descriptor ends within ten seconds."""
    return bool(select.select([process], [], [], 10)[0])
