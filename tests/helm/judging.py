"""What the API server says of rendered objects."""

import json
from collections.abc import Iterable

import yaml
from tests.cluster.control_plane import ControlPlane
from tests.helm.running import Object


def judged(judge: ControlPlane, objects: Iterable[Object], *how: str) -> None:
    """Has the API server take each once, as far as a dry run goes. AssertionError with its reason if it refuses one."""
    each = {json.dumps(one, sort_keys=True): one for one in objects}
    given = yaml.dump_all(each.values(), Dumper=yaml.CSafeDumper)
    said = judge.kubectl("apply", "--dry-run=server", "--validate=strict", *how, "--filename=-", input=given)
    assert len(said.splitlines()) == len(each)


def judged_by_server_side_apply(judge: ControlPlane, objects: Iterable[Object]) -> None:
    """As Helm 4 applies: an entry that a list has twice is refused."""
    judged(judge, objects, "--server-side", "--field-manager=helm", "--force-conflicts")
