"""Callers who show tokens of their ServiceAccounts, with a real API server: as who reviews them, and as an issuer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.docs.pages import blocks
from tests.docs.program import ROOT
from tests.flow.world import CHAT, Served, World, chat, config
from tests.kubernetes.objects import ACCOUNT
from tests.kubernetes.space import Space

from ai_gateway.cluster.access import Access

pytestmark = pytest.mark.cluster

AUDIENCE = "ai-gateway-ollama"
RBAC = "/apis/rbac.authorization.k8s.io/v1"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """As in tests/flow."""
    async with AsyncExitStack() as stack:
        yield World(tmp_path, stack)


def _let_review(space: Space) -> None:
    """Gives the gateway the right that docs/security.md names, over the whole cluster."""
    page = ROOT / "docs" / "security.md"
    (role,) = (yaml.safe_load(block.text) for block in blocks(page) if "kind: ClusterRole" in block.text)
    name = f"{space.name}-review"
    space.plane.client.post(f"{RBAC}/clusterroles", json={**role, "metadata": {"name": name}}).raise_for_status()
    binding = {
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": space.name}],
    }
    space.plane.client.post(f"{RBAC}/clusterrolebindings", json=binding).raise_for_status()


async def _gateway(world: World, space: Space, folder: Path, **sections: Any) -> Served:
    simulator = await world.simulator()
    access = Access(str(space.kubeconfig(folder)), service_account=folder / "none")
    auth = {"methods": ["kubernetes"]}
    content = yaml.safe_dump(config(simulator.urls, **{"auth": auth, **sections}))
    return await world.gateway_with(content, access=access)


async def _ask(served: Served, token: str, model: str = "llama3") -> int:
    reply = await served.ask("POST", CHAT, chat(model=model), {"Authorization": f"Bearer {token}"})
    return reply.status


async def test_a_token_for_the_gateway_lets_its_service_account_in(world: World, space: Space, tmp_path: Path) -> None:
    _let_review(space)
    rules = [{"match": {"serviceaccount": f"{space.name}/def*"}, "tenant": "red", "models": ["llama3"]}]
    served = await _gateway(world, space, tmp_path, callers=rules)
    token = space.plane.service_account_token(space.name, "default", audience=AUDIENCE)
    assert await _ask(served, token) == 200
    caller = (await served.recorded()).caller
    assert caller.name == f"system:serviceaccount:{space.name}:default"
    assert (caller.method, caller.tenant, caller.label) == ("kubernetes", "red", "red")
    assert f"system:serviceaccounts:{space.name}" in caller.groups
    assert await _ask(served, token, "coder") == 404
    other = space.plane.service_account_token(space.name, ACCOUNT, audience=AUDIENCE)
    assert await _ask(served, other) == 403  # known, and no rule is for it


async def test_tokens_for_somebody_else_or_of_an_account_that_is_gone_are_refused(
    world: World, space: Space, tmp_path: Path
) -> None:
    _let_review(space)
    served = await _gateway(world, space, tmp_path)
    for audience in (None, "another"):
        token = space.plane.service_account_token(space.name, "default", audience=audience)
        assert await _ask(served, token) == 401
    token = space.plane.service_account_token(space.name, "default", audience=AUDIENCE)
    head, claims, signature = token.split(".")
    assert await _ask(served, f"{head}.{claims}.{signature[::-1]}") == 401
    await asyncio.to_thread(space.delete, "serviceaccounts", "default")
    assert await _ask(served, token) == 401


async def test_without_the_right_no_caller_is_refused_as_unknown_and_health_names_it(
    world: World, space: Space, tmp_path: Path
) -> None:
    served = await _gateway(world, space, tmp_path)
    token = space.plane.service_account_token(space.name, "default", audience=AUDIENCE)
    assert await _ask(served, token) == 503
    reason = served.gateway.auth_state.status()["complaints"]["kubernetes"]
    assert "tokenreviews" in reason
    assert await _ask(served, "nonsense") == 401
    _let_review(space)
    for _ in range(200):
        if await _ask(served, token) == 200:
            break
        await asyncio.sleep(0.05)
    assert served.gateway.auth_state.status()["complaints"] == {}


async def test_while_the_api_server_is_away_known_callers_go_on(
    world: World, fragile_space: Space, tmp_path: Path
) -> None:
    space = fragile_space
    _let_review(space)
    served = await _gateway(world, space, tmp_path)
    known, unknown = (
        space.plane.service_account_token(space.name, name, audience=AUDIENCE) for name in ("default", ACCOUNT)
    )
    assert await _ask(served, known) == 200
    await asyncio.to_thread(space.plane.kill_apiserver)
    try:
        assert await _ask(served, known) == 200
        assert await _ask(served, unknown) == 503
    finally:
        await asyncio.to_thread(space.plane.start_apiserver)
    assert await _ask(served, unknown) == 200


async def test_the_api_server_is_an_issuer_whose_keys_prove_tokens(world: World, space: Space, tmp_path: Path) -> None:
    token_file = tmp_path / "token"
    token_file.write_text(space.token)
    oidc = {
        "issuer": space.plane.url,
        "audience": AUDIENCE,
        "ca_file": str(space.plane.ca_file),
        "token_file": str(token_file),
    }
    rules = [{"match": {"name": f"system:serviceaccount:{space.name}:*", "method": "oidc"}, "role": "admin"}]
    auth = {"methods": ["oidc"], "oidc": oidc}
    served = await _gateway(world, space, tmp_path, auth=auth, callers=rules)
    token = space.plane.service_account_token(space.name, "default", audience=AUDIENCE)
    assert await _ask(served, token) == 200
    caller = (await served.recorded()).caller
    assert (caller.name, caller.method, caller.is_admin) == (
        *(f"system:serviceaccount:{space.name}:default", "oidc", True),
    )
    assert await _ask(served, space.plane.service_account_token(space.name, "default", audience="another")) == 401
    head, claims, signature = token.split(".")
    assert await _ask(served, f"{head}.{claims}.{signature[::-1]}") == 401
    assert served.gateway.auth_state.status()["complaints"] == {}


async def test_both_methods_together_take_both_kinds_of_tokens(world: World, space: Space, tmp_path: Path) -> None:
    """A key, and a token of a ServiceAccount; neither is asked about by the other's method."""
    _let_review(space)
    keys = tmp_path / "keys.yaml"
    keys.write_text("keys: []")
    served = await _gateway(world, space, tmp_path, auth={"methods": ["keys", "kubernetes"], "keys_file": str(keys)})
    assert await _ask(served, space.plane.service_account_token(space.name, "default", audience=AUDIENCE)) == 200
    assert await _ask(served, "aigw_unknown") == 401
