"""A person edits the ConfigMap with `kubectl edit`, and Helm upgrades the release: neither undoes the other unseen."""

import json
from pathlib import Path

import pytest
import yaml
from tests.cluster.control_plane import ControlPlane
from tests.helm.releases import MAP, Release
from tests.helm.running import HELMS, HelmRefuses
from tools.chart.files import CHART

pytestmark = pytest.mark.cluster

EDIT = ("limits: none", "limits: {default: {rpm: 7}}")
OTHER_IMAGE = "--set=image.tag=v2"
OTHER_MODELS = "--set=config.models.only.version=1b"
HANDED_OVER = {"helm3": (), "helm4": ("--force-conflicts",)}  # what a person must say to win over `kubectl edit`


@pytest.fixture(params=HELMS)
def release(plane: ControlPlane, request: pytest.FixtureRequest) -> Release:
    """Before its installation."""
    return Release(plane, request.param)


@pytest.fixture
def edited(release: Release) -> Release:
    """Installed without values, then edited."""
    release.install()
    release.edit(*EDIT)
    return release


def test_an_upgrade_of_the_image_keeps_an_edit(edited: Release) -> None:
    said = edited.upgrade(OTHER_IMAGE)
    assert edited.image().endswith(":v2")
    assert edited.rpm == 7
    assert "YOUR EDIT WAS KEPT" in said


def test_it_keeps_the_edit_to_the_letter_time_and_again(edited: Release) -> None:
    edited.edit("# You name no model", "# a word of mine   ")
    before = edited.text
    for tag in ("v2", "v3"):
        edited.upgrade(f"--set=image.tag={tag}")
        edited.edit("a word", "another word")
        edited.edit("another word", "a word")
    assert edited.text == before


def test_an_upgrade_of_the_models_takes_effect(release: Release) -> None:
    release.install()
    said = release.upgrade(OTHER_MODELS)
    assert release.models == ["only"]
    assert list(release.data()) == ["config.yml"]
    assert "EDIT" not in said


def test_models_that_change_win_over_an_edit_which_is_kept_beside_them(edited: Release) -> None:
    before = edited.text
    said = edited.upgrade(OTHER_MODELS, *HANDED_OVER[edited.version])
    assert edited.models == ["only"]
    assert edited.data()["config.yml.replaced"] == before
    assert "YOUR EDIT WAS REPLACED" in said
    edited.upgrade(OTHER_MODELS, OTHER_IMAGE)
    assert edited.data()["config.yml.replaced"] == before


def test_helm_4_asks_before_models_win_over_an_edit(plane: ControlPlane) -> None:
    release = Release(plane, "helm4")
    release.install()
    release.edit(*EDIT)
    with pytest.raises(HelmRefuses, match=r'conflict with "kubectl-edit".*\.data\.config\.yml'):
        release.upgrade(OTHER_MODELS)
    assert release.rpm == 7
    release.upgrade(OTHER_IMAGE)  # the refusal is in nobody's way
    assert release.rpm == 7


def test_an_edit_that_says_what_the_values_say_next_is_no_conflict(release: Release) -> None:
    release.install()
    release.edit(*EDIT)
    said = release.upgrade(f"--set-file=config.content={_file_with(release)}")
    assert release.rpm == 7
    assert list(release.data()) == ["config.yml"]
    assert "WAS REPLACED" not in said


def test_an_edit_that_means_what_the_values_say_next_keeps_its_words(edited: Release) -> None:
    """Other comments, another order: Helm 4 would take the other text for a conflict."""
    before = edited.text
    limits = json.dumps(yaml.safe_load(before)["limits"])
    edited.upgrade(f"--set-json=config.limits={limits}")
    assert edited.data() == {"config.yml": before}
    edited.upgrade(f"--set-json=config.limits={limits}", OTHER_IMAGE)
    assert edited.text == before


def _file_with(release: Release) -> str:
    """The live text in a file: how an edit is taken over into the values."""
    file = release.plane.admin_kubeconfig.parent / f"{release.namespace}.yml"
    file.write_text(release.text)
    return str(file)


def test_a_rollback_brings_back_the_text_of_its_revision(edited: Release) -> None:
    edited.upgrade(OTHER_IMAGE)
    edited.upgrade(OTHER_MODELS, *HANDED_OVER[edited.version])
    edited.helm("rollback", "2")
    assert (edited.rpm, list(edited.data())) == (7, ["config.yml"])
    edited.upgrade(OTHER_IMAGE)
    assert edited.rpm == 7


def test_a_rollback_to_before_an_edit_undoes_it_and_helm_4_asks_first(edited: Release) -> None:
    edited.upgrade(OTHER_IMAGE)
    if edited.version == "helm4":
        with pytest.raises(HelmRefuses, match="kubectl-edit"):
            edited.helm("rollback", "1")
        assert edited.rpm == 7
    edited.helm("rollback", "1", *HANDED_OVER[edited.version])
    assert edited.rpm is None


@pytest.mark.parametrize("asks_first", [False, True], ids=["at-once", "after-a-refusal"])
def test_a_rollback_that_helm_4_refused_first_leaves_what_only_the_later_revision_had(
    plane: ControlPlane, asks_first: bool
) -> None:
    """Why the docs say `--force-conflicts` at once: Helm then compares with the release that failed."""
    release = Release(plane, "helm4")
    release.install()
    release.upgrade("--set=replicaCount=2")
    release.edit(*EDIT)
    if asks_first:
        with pytest.raises(HelmRefuses, match="kubectl-edit"):
            release.helm("rollback", "1")
    release.helm("rollback", "1", "--force-conflicts")
    release.helm("uninstall")
    left = release.kubectl("get", "role,rolebinding,poddisruptionbudget", "--output=name").split()
    assert bool(left) is asks_first, left


def test_a_config_map_that_was_replaced_as_a_whole_is_kept(release: Release) -> None:
    """`kubectl replace` takes the annotation away that tells what the values said."""
    release.install()
    content = yaml.safe_dump({"models": {"mine": {}}})
    whole = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": MAP}, "data": {"config.yml": content}}
    release.kubectl("replace", "--filename=-", input=yaml.safe_dump(whole))
    said = release.upgrade(OTHER_IMAGE)
    assert release.models == ["mine"]
    assert "THE CONTENT WAS KEPT" in said
    release.upgrade(OTHER_MODELS, *HANDED_OVER[release.version])
    assert release.models == ["only"]


def test_an_edit_moves_along_to_another_key(edited: Release) -> None:
    said = edited.upgrade("--set=config.key=gateway.yml")
    assert yaml.safe_load(edited.data()["gateway.yml"])["limits"] == {"default": {"rpm": 7}}
    assert "YOUR EDIT WAS KEPT" in said


REMEMBERED = "fc19998b4d819290"  # by the chart that wrote them
EXAMPLES = """
models:
  llama3: {version: latest}
  coder: {ollama: codellama, version: 13b, max_tokens: 2048, aliases: [code]}
  embed: {ollama: nomic-embed-text, version: latest}
audit: {mode: best_effort}
auth: {methods: [none]}
callers: all
limits: none
tls: none
"""


@pytest.mark.parametrize("is_edited", [True, False], ids=["edited", "untouched"])
def test_an_edit_of_the_three_examples_of_earlier_charts_is_kept_and_they_are_not(
    release: Release, is_edited: bool
) -> None:
    """As a release without values left them; the hash is what the chart remembered then."""
    release.install()
    annotations = {"ai-gateway-ollama/values-hash": REMEMBERED}
    patch = json.dumps({"metadata": {"annotations": annotations}, "data": {"config.yml": EXAMPLES}})
    release.kubectl("patch", "configmap", MAP, f"--patch={patch}", "--field-manager=helm")
    if is_edited:
        release.edit(*EDIT)
    said = release.upgrade(OTHER_IMAGE, *HANDED_OVER[release.version])
    assert ("YOUR EDIT WAS KEPT" in said) is is_edited
    assert (release.models == []) is not is_edited
    assert list(release.data()) == ["config.yml"]
    release.upgrade("--set=image.tag=v3")
    assert release.rpm == (7 if is_edited else None)


def test_a_selector_that_changes_wins_over_an_edit(edited: Release) -> None:
    """It goes into the file, as `config` does."""
    edited.upgrade("--set=discovery.labelSelector=app=ours", *HANDED_OVER[edited.version])
    assert edited.rpm is None
    assert "rpm: 7" in edited.data()["config.yml.replaced"]


def test_what_a_file_turned_on_a_new_file_does_not_turn_off_by_leaving_it_out(release: Release, tmp_path: Path) -> None:
    before, after = tmp_path / "before.yml", tmp_path / "after.yml"
    before.write_text("models: {a: {}}\nauth: {methods: [kubernetes]}\ncallers: []\n")
    after.write_text("models: {a: {}}\n")
    release.install(f"--set-file=config.content={before}")
    with pytest.raises(HelmRefuses, match=r"auth is in force .* write `auth: \{methods: \[none\]\}`"):
        release.upgrade(f"--set-file=config.content={after}")
    release.upgrade(
        f"--set-file=config.content={after}",
        "--set=config.auth.methods={keys}",
        "--set=auth.keysSecret.name=ours",
        "--set-json=config.callers=[]",
    )
    after.write_text("models: {a: {}}\nauth: {methods: [none]}\ncallers: all\n")
    release.upgrade(f"--set-file=config.content={after}")
    assert yaml.safe_load(release.text)["auth"] == {"methods": ["none"]}


def test_a_file_keeps_an_edit_that_turned_something_on(release: Release, tmp_path: Path) -> None:
    """Only where the text gives way can something be lost."""
    file = tmp_path / "ours.yml"
    file.write_text("models: {a: {}}\n")
    release.install(f"--set-file=config.content={file}")
    release.edit(*EDIT)
    release.upgrade(f"--set-file=config.content={file}", OTHER_IMAGE)
    assert release.rpm == 7


def test_a_config_map_of_ones_own_is_never_written(release: Release) -> None:
    release.kubectl("create", "configmap", "ours", "--from-literal=config.yml=models: {ours: }")
    before = release.kubectl("get", "configmap", "ours", "--output=yaml")
    release.install("--set=config.existingConfigMap=ours")
    release.upgrade("--set=config.existingConfigMap=ours", OTHER_IMAGE, OTHER_MODELS)
    release.helm("uninstall")
    assert release.kubectl("get", "configmap", "ours", "--output=yaml") == before


def test_a_render_without_the_cluster_says_what_the_values_say(edited: Release) -> None:
    """What `helm template` and Argo CD apply: an edit is none of their business, as NOTES say."""
    text = edited.helm("template", str(CHART))
    (config_map,) = (one for one in yaml.safe_load_all(text) if one and one["kind"] == "ConfigMap")
    assert "limits: none" in config_map["data"]["config.yml"]
    assert "undoes an edit" in edited.upgrade(OTHER_IMAGE)


def test_uninstall_leaves_nothing(edited: Release) -> None:
    edited.upgrade(OTHER_IMAGE, "--set=replicaCount=2", "--set=networkPolicy.enabled=true")
    edited.helm("uninstall")
    kinds = "configmap,secret,service,serviceaccount,role,rolebinding,deployment,networkpolicy,poddisruptionbudget"
    assert edited.kubectl("get", kinds, "--ignore-not-found", "--output=name") == ""


def test_a_release_of_helm_3_keeps_its_edit_under_helm_4(plane: ControlPlane) -> None:
    release = Release(plane, "helm3")
    release.install()
    release.edit(*EDIT)
    release.version = "helm4"
    release.upgrade(OTHER_IMAGE)
    assert (release.rpm, release.image().rpartition(":")[2]) == (7, "v2")
    release.upgrade(OTHER_IMAGE, "--set=replicaCount=2", "--server-side=true")
    assert release.rpm == 7
