"""Who is let in and who may do what, seen from the outside of a whole gateway."""

import asyncio
import json
import statistics
import time
import unicodedata
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.flow.waiting import until
from tests.flow.world import CHAT, Served, World, chat, config

from ai_gateway.auth.identity import Identity
from ai_gateway.auth.keys_file import KeyEntry, hash_of, new_key, write_entries


class Ring:
    """Keys of a test, and the file that the gateway follows."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "keys.yaml"
        self.entries: dict[str, KeyEntry] = {}

    def add(self, name: str, **more: Any) -> str:
        """Makes a key, and writes the file anew."""
        key, key_id = new_key()
        self.entries[key] = msgspec.convert(
            {"id": key_id, "name": name, "hash": hash_of(key.encode()), **more}, KeyEntry
        )
        self.write()
        return key

    def revoke(self, key: str) -> None:
        """Ends a key."""
        self.entries[key] = msgspec.structs.replace(self.entries[key], revoked=datetime.now(UTC))
        self.write()

    def write(self) -> None:
        """As a Secret's mount does: exchanged whole."""
        new = self.path.with_suffix(".new")
        new.write_text(write_entries(tuple(self.entries.values())))
        new.replace(self.path)

    @property
    def auth(self) -> dict[str, Any]:
        """The section of config.yml."""
        return {"methods": ["keys"], "keys_file": str(self.path)}


@pytest.fixture
def ring(tmp_path: Path) -> Ring:
    return Ring(tmp_path)


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def _becomes(status: int, served: Served, key: str) -> float:
    """Asks until it is answered so; how many seconds that took."""
    began = time.monotonic()
    while await _asks(served, key) != status:  # noqa: ASYNC110 - the file is looked at once a second
        await asyncio.sleep(0.02)
    return time.monotonic() - began


async def _asks(served: Served, key: str, model: str = "llama3") -> int:
    return (await served.ask("POST", CHAT, chat(model=model), bearer(key))).status


async def test_without_auth_everyone_is_let_in_and_the_log_warns(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    simulator = await world.simulator()
    served = await world.gateway(simulator.urls)
    assert (await served.chat()).status == 200
    caller = served.last.caller
    assert (caller.name, caller.method, caller.is_admin) == ("anonymous", "none", False)
    assert any("everyone" in record.message for record in caplog.records if record.name == "ai_gateway.auth")


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", ""])
async def test_a_key_lets_its_owner_in(world: World, ring: Ring, scheme: str) -> None:
    key = ring.add("team-a", tenant="red", groups=["g"])
    simulator = await world.simulator()
    served = await world.gateway(simulator.urls, auth=ring.auth)
    reply = await served.ask("POST", CHAT, chat(), {"Authorization": scheme + key})
    assert reply.status == 200
    caller = (await served.recorded()).caller
    assert (caller.name, caller.tenant, caller.groups, caller.method) == ("team-a", "red", ("g",), "keys")
    assert caller.key_id == ring.entries[key].id
    assert caller.address == "127.0.0.1"


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        (CHAT, {}),
        (CHAT, {"Authorization": "Bearer aigw_00000000_unknown"}),
        (CHAT, {"Authorization": "Basic dXNlcjpwYXNz"}),
        (CHAT, {"Authorization": "Bearer"}),
        (CHAT, {"Cookie": "Authorization=KEY; api_key=KEY"}),
        (CHAT + "?api_key=KEY&key=KEY&authorization=KEY", {}),
        (CHAT, {"X-Api-Key": "KEY"}),  # an option that is off
        (CHAT, {"Proxy-Authorization": "Bearer KEY"}),
        (CHAT, {"Authorization": "Bearer KEYx"}),
        ("/v1/models", {}),
        ("/v1/models/llama3", {}),
        ("/v1/nothing", {}),
        ("/v1/health/", {}),
        ("/V1/health", {}),
        ("//v1/health", {}),
    ],
)
async def test_everyone_else_gets_the_same_401(world: World, ring: Ring, path: str, headers: dict[str, str]) -> None:
    key = ring.add("team-a")
    served = await world.gateway((), auth=ring.auth)
    headers = {name: value.replace("KEY", key) for name, value in headers.items()}
    reply = await served.ask("POST", path.replace("KEY", key), chat(), headers)
    assert reply.status == 401
    assert reply.json["error"]["type"] == "unauthorized"
    assert reply.header("www-authenticate") == 'Bearer realm="ai-gateway-ollama"'
    plain = await served.ask("POST", CHAT, chat())
    assert reply.body == plain.body
    assert served.last.outcome.kind == "denied"


async def test_a_key_in_the_body_or_a_trailer_is_ignored(world: World, ring: Ring) -> None:
    key = ring.add("team-a")
    served = await world.gateway((), auth=ring.auth)
    assert (await served.ask("POST", CHAT, chat(api_key=key, authorization=f"Bearer {key}"))).status == 401
    line = await served.open()
    body = chat()
    await line.write(
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\nTrailer: Authorization\r\n\r\n"
        + b"%x\r\n%s\r\n0\r\nAuthorization: Bearer %s\r\n\r\n"
        % (len(body), body, key.encode())
    )
    assert (await line.reply()).status == 401


async def test_a_wrong_key_is_refused_before_the_body_is_read(world: World, ring: Ring) -> None:
    ring.add("team-a")
    served = await world.gateway((), auth=ring.auth)
    line = await served.open()
    await line.write(
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: 1000\r\nExpect: 100-continue\r\nAuthorization: Bearer wrong\r\n\r\n"
    )
    assert (await line.reply()).status == 401  # and not 100 first


async def test_two_authorization_headers_are_a_bad_request(world: World, ring: Ring) -> None:
    key = ring.add("team-a").encode()
    served = await world.gateway((), auth=ring.auth)
    line = await served.open()
    await line.write(
        b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nauthorization: Bearer %s\r\n\r\n"
        % (key, key)
    )
    reply = await line.reply()
    assert (reply.status, reply.json["error"]["code"]) == (400, "two_credentials")


async def test_other_headers_hold_keys_where_the_config_says_so(world: World, ring: Ring) -> None:
    key = ring.add("team-a")
    served = await world.gateway((), auth={**ring.auth, "headers": ["x-api-key", "api-key"]})
    for name in ("X-Api-Key", "Api-Key", "Authorization"):
        assert (await served.ask("GET", "/v1/models", None, {name: key})).status == 200
    assert (await served.ask("GET", "/v1/models", None, {"X-Key": key})).status == 401


async def test_keys_come_and_go_while_the_gateway_runs(world: World, ring: Ring) -> None:
    first = ring.add("team-a")
    simulator = await world.simulator()
    served = await world.gateway(simulator.urls, auth=ring.auth)
    assert await _asks(served, first) == 200
    second = ring.add("team-a")  # a rotation: both work
    assert await _becomes(200, served, second) < 5
    assert await _asks(served, first) == 200
    ring.revoke(first)
    assert await _becomes(401, served, first) < 5
    assert await _asks(served, second) == 200


async def test_a_stream_goes_on_when_its_key_is_revoked_and_the_next_call_is_refused(world: World, ring: Ring) -> None:
    key = ring.add("team-a")
    simulator = await world.simulator(tokens_per_second=20.0)
    served = await world.gateway(simulator.urls, auth=ring.auth)
    line = await served.begin(chat(stream=True, max_tokens=60), headers=bearer(key))
    await line.head()
    ring.revoke(key)
    await _becomes(401, served, key)
    body = await line.rest()
    assert body.rstrip().endswith(b"data: [DONE]")


async def test_without_a_valid_keys_file_no_key_is_accepted_and_health_says_so(world: World, ring: Ring) -> None:
    served = await world.gateway((), auth=ring.auth)
    reply = await served.ask("GET", "/v1/models", None, bearer("aigw_x"))
    assert (reply.status, reply.json["error"]["code"]) == (503, "auth_unavailable")
    assert (await served.ask("GET", "/v1/models")).status == 401
    admin = ring.add("ops", role="admin")
    await until(lambda: not served.gateway.auth_state.status()["complaints"], "the file read")
    ring.path.write_text("keys: [")
    await until(lambda: bool(served.gateway.auth_state.status()["complaints"]), "the file refused")
    health = (await served.ask("GET", "/v1/health", None, bearer(admin))).json
    assert health["auth"] == {
        "methods": ["keys"],
        "keys": 1,
        "complaints": {"keys": f"{ring.path}: not valid YAML, or it has a duplicate key"},
    }


async def test_health_tells_three_fields_to_everyone_and_the_detail_to_admins(world: World, ring: Ring) -> None:
    admin, user = ring.add("ops", role="admin"), ring.add("team-a")
    simulator = await world.simulator()
    served = await world.gateway(simulator.urls, auth=ring.auth)
    for headers in ({}, bearer(user), bearer("wrong")):
        reply = await served.ask("GET", "/v1/health", None, headers)
        assert reply.status == 200
        assert set(reply.json) == {"gateway", "ollama", "uptime_seconds"}
    assert {"endpoints", "models", "auth"} < set((await served.ask("GET", "/v1/health", None, bearer(admin))).json)
    assert (await served.ask("GET", "/")).status == 200


async def test_a_model_that_is_not_for_a_caller_looks_as_if_it_did_not_exist(world: World, ring: Ring) -> None:
    key = ring.add("team-a", models=["code", "emb*"])
    simulator = await world.simulator()
    served = await world.gateway(simulator.urls, auth=ring.auth)
    listed = (await served.ask("GET", "/v1/models", None, bearer(key))).json
    assert {model["id"] for model in listed["data"]} == {"coder", "code", "team/code:best", "embed"}
    assert await _asks(served, key, "coder") == 200  # one model under all its names
    assert await _asks(served, key, "code") == 200
    for method, path, body in (("POST", CHAT, "llama3"), ("GET", "/v1/models/", "llama3")):
        replies = []
        for model in (body, "nothing"):
            sent = chat(model=model) if method == "POST" else None
            replies.append(await served.ask(method, path + ("" if sent else model), sent, bearer(key)))
        denied, unknown = replies
        assert denied.status == unknown.status == 404
        assert denied.body.replace(b"llama3", b"nothing") == unknown.body
    assert [exchange.outcome.kind for exchange in served.exchanges[-4:]] == ["denied", "refused", "denied", "refused"]


async def test_rules_give_models_tenants_and_roles_and_refuse_whom_they_do_not_name(world: World, ring: Ring) -> None:
    key, other = ring.add("team-a"), ring.add("team-b", models=["embed"])
    rules = [{"match": {"key": "team-a"}, "tenant": "red", "models": ["llama3"], "role": "admin", "routes": ["models"]}]
    simulator = await world.simulator()
    served = await world.gateway(simulator.urls, auth=ring.auth, callers=rules)
    listed = (await served.ask("GET", "/v1/models", None, bearer(key))).json
    assert [model["id"] for model in listed["data"]] == ["llama3"]
    assert served.last.caller.tenant == "red"
    refused = await served.ask("POST", CHAT, chat(), bearer(key))
    assert (refused.status, refused.json["error"]["code"]) == (403, "route_not_allowed")
    assert "endpoints" in (await served.ask("GET", "/v1/health", None, bearer(key))).json
    assert await _asks(served, other, "llama3") == 404  # its entry's word, since no rule is for it


async def test_a_path_with_a_line_end_is_no_way_around_a_rule(world: World, ring: Ring) -> None:
    key = ring.add("team-a", routes=["chat"])
    served = await world.gateway((), auth=ring.auth)
    for path, status in (
        ("/v1/models", 403),
        ("/v1/models/llama3", 403),
        ("/v1/models%0A", 404),
        ("/v1/health%0A", 404),
    ):
        assert (await served.ask("GET", path, None, bearer(key))).status == status, path


async def test_whom_no_rule_lets_in_is_named_in_the_record(world: World, ring: Ring) -> None:
    """Keys have their entries' word; a token that no rule fits is refused, and operators see whose it was."""
    issuer = {"issuer": "https://issuer.example", "audience": "x"}
    served = await world.gateway((), auth={"methods": ["oidc"], "oidc": issuer}, callers=[])

    async def known(token: bytes) -> Identity:
        return Identity("someone", "oidc", "red", ("staff",))

    (method,) = served.gateway.auth_state.methods.values()
    method.fits, method.identify = (lambda token: True), known  # type: ignore[method-assign]  # no issuer is here
    reply = await served.ask("POST", CHAT, chat(), bearer("token"))
    assert (reply.status, reply.json["error"]["code"]) == (403, "no_rule")
    caller = served.last.caller
    assert (caller.name, caller.method, caller.tenant, caller.address) == ("someone", "oidc", "red", "127.0.0.1")


async def test_a_change_beside_the_methods_forgets_nothing(world: World, ring: Ring) -> None:
    """With the file of keys broken, as an unlucky moment has it."""
    key = ring.add("team-a")
    served = await world.gateway((), auth=ring.auth)
    ring.path.write_text("keys: [")
    await served.reload(config((), auth={**ring.auth, "headers": ["x-api-key"]}))
    assert (await served.ask("GET", "/v1/models", None, {"X-Api-Key": key})).status == 200


async def test_limits_of_a_key_hold_without_any_in_the_config(world: World, ring: Ring) -> None:
    key = ring.add("team-a", limits={"rpm": 1})
    simulator = await world.simulator()
    served = await world.gateway(simulator.urls, auth=ring.auth)
    assert [await _asks(served, key) for _ in range(2)] == [200, 429]


async def test_only_admins_see_where_a_model_runs(world: World, ring: Ring) -> None:
    user, admin = ring.add("team-a"), ring.add("ops", role="admin")
    simulator = await world.simulator()
    served = await world.gateway(simulator.urls, auth=ring.auth)
    answers = [(await served.ask("GET", "/v1/models/llama3", None, bearer(key))).json for key in (user, admin)]
    assert "endpoints" not in answers[0]
    assert answers[1]["endpoints"] == list(simulator.addresses)


async def test_a_change_of_rules_holds_from_the_next_request_on(world: World, ring: Ring) -> None:
    key = ring.add("team-a")
    simulator = await world.simulator()
    served = await world.gateway(simulator.urls, auth=ring.auth)
    assert await _asks(served, key) == 200
    rules = [{"match": {"key": "*"}, "models": ["embed"]}]
    await served.reload(config(simulator.urls, auth=ring.auth, callers=rules))
    assert await _asks(served, key) == 404
    await served.reload(config(simulator.urls, auth={"methods": ["none"]}, callers="all"))
    assert (await served.chat()).status == 200


async def test_a_preflight_needs_no_credential_and_the_call_behind_it_does(world: World, ring: Ring) -> None:
    ring.add("team-a")
    served = await world.gateway((), auth=ring.auth, cors={"origins": ["https://app.example"]})
    headers = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
    assert (await served.ask("OPTIONS", CHAT, None, headers)).status == 200
    reply = await served.ask("POST", CHAT, chat(), {"Origin": "https://app.example"})
    assert (reply.status, reply.header("access-control-allow-origin")) == (401, "https://app.example")


async def test_the_admin_port_asks_for_nothing(world: World, ring: Ring) -> None:
    served = await world.gateway((), auth=ring.auth)
    for path in ("/livez", "/readyz", "/metrics"):
        assert (await served.probe(path)).status == 200


async def test_five_thousand_variants_of_a_key_are_all_unknown(world: World, ring: Ring) -> None:
    """Case, Unicode, doubled and cut: with a model that the key itself may use."""
    key = ring.add("team-a", models=["llama3"])
    simulator = await world.simulator()
    served = await world.gateway(simulator.urls, auth=ring.auth)
    assert await _asks(served, key) == 200
    line = await served.open()
    for number in range(5000):
        await line.send("POST", CHAT, chat(), {"Authorization": f"Bearer {_variant(key, number)}"})
        assert (await line.reply()).status == 401, _variant(key, number)


async def test_five_thousand_variants_of_a_model_reach_none_that_is_not_allowed(world: World, ring: Ring) -> None:
    """Case, Unicode, doubled fields and names: what is answered is the one model that is allowed."""
    key = ring.add("team-a", models=["llama3"])
    simulator = await world.simulator()
    served = await world.gateway(simulator.urls, auth=ring.auth, catalog={"discover": True})
    line = await served.open()
    for number in range(5000):
        asked = _variant(("coder", "codellama:13b", "llama3")[number % 3], number)
        body = json.dumps({"model": asked, "messages": [{"role": "user", "content": "x"}], "max_tokens": 1}).encode()
        if number % 5 == 0:  # Ollama would take the last one
            body = body[:-1] + b', "model": "coder"}'
        elif number % 5 == 1:  # and does not look at case
            body = b'{"Model": "coder", ' + body[1:]
        elif number % 5 == 2:
            body = body.replace(b'"model"', '"\u006dodel": "coder", "mode\u0142"'.encode())
        await line.send("POST", CHAT, body, bearer(key))
        await line.reply()
    sent = {exchange.ids.model for exchange in served.exchanges if exchange.attempts}
    assert sent <= {"llama3:latest"}


def _variant(text: str, number: int) -> str:
    place = number // 11 % len(text)
    kinds = (
        text.swapcase,
        lambda: text[:place] + chr(0xFEE0 + ord(text[place])) + text[place + 1 :],
        lambda: unicodedata.normalize("NFD", text[:place] + "\u00e9" + text[place:]),
        lambda: text[:place] + "\u200b" + text[place:],
        lambda: text + ":latest" * (1 + place % 3),
        lambda: text + "." * (1 + place % 3),
        lambda: text[:place] + "|" + text[place:],
        lambda: text[:place] + text[place] * 2 + text[place + 1 :],
        lambda: "library/" + text,
        lambda: text[:place] + "\u0430" + text[place + 1 :],
        lambda: f"registry.ollama.ai/library/{text}:{number}",
    )
    return kinds[number % 11]()


async def test_refusals_of_a_missing_an_unknown_and_a_wrong_key_take_the_same_time(world: World, ring: Ring) -> None:
    key = ring.add("team-a")
    for number in range(200):
        ring.entries[str(number)] = msgspec.structs.replace(ring.entries[key], id=f"{number:08}")
    ring.write()
    served = await world.gateway((), auth=ring.auth)
    line = await served.open()
    kinds = {"missing": {}, "unknown": bearer("aigw_zzzzzzzz_" + key[14:]), "wrong": bearer(key[:-1] + "_")}
    taken: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(400):
        for kind, headers in kinds.items():
            began = time.perf_counter()
            await line.send("GET", "/v1/models", None, headers)
            assert (await line.reply()).status == 401
            taken[kind].append(time.perf_counter() - began)
    medians = sorted(statistics.median(times) for times in taken.values())
    noise = max(statistics.quantiles(times, n=4)[2] - statistics.quantiles(times, n=4)[0] for times in taken.values())
    assert medians[-1] - medians[0] < max(noise, 20e-6), medians
