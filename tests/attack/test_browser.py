"""What a web page in a real browser gets from a gateway on the same machine."""

import pytest
from tests.attack.browser import opened, page
from tests.attack.table import Tried
from tests.attack.test_origins import sent
from tests.flow.world import CHAT, World

ALL = """
const body = JSON.stringify({model: "llama3", messages: [{role: "user", content: "x"}], max_tokens: 2});
const json = {"content-type": "application/json"}, url = API + CHAT;
tried.simple = await ask(url, {method: "POST", mode: "no-cors", body});
tried.json = await ask(url, {method: "POST", headers: json, body});
tried.simple_cors = await ask(url, {method: "POST", body});
tried.no_referrer = await ask(url, {method: "POST", mode: "no-cors", body, referrerPolicy: "no-referrer"});
tried.blob = await ask(url, {method: "POST", mode: "no-cors", body: new Blob([body])});
tried.form = await ask(url, {method: "POST", mode: "no-cors", body: new URLSearchParams({a: body})});
tried.drain = await ask(ADMIN + "/drain", {method: "POST", mode: "no-cors"});
tried.drain_json = await ask(ADMIN + "/drain", {method: "POST", headers: json, body: "{}"});
tried.beacon = ["opaque", navigator.sendBeacon(url, body) && navigator.sendBeacon(ADMIN + "/drain", "x")];
tried.metrics = await ask(ADMIN + "/metrics");
tried.models = await ask(API + "/v1/models");
const frame = document.createElement("iframe"); frame.name = "frame"; document.body.append(frame);
const form = document.createElement("form");
Object.assign(form, {method: "post", action: url, target: "frame", enctype: "text/plain"});
const field = document.createElement("input"); field.name = body.slice(0, -1) + ', "x": "'; field.value = '"}';
form.append(field); document.body.append(form);
const loaded = new Promise(resolve => { frame.onload = resolve; setTimeout(resolve, 3000); });
form.submit(); await loaded;
"""


@pytest.mark.attack("http", "a page in a real browser: fetch, forms, beacons, from foreign and rebound names")
async def test_a_foreign_page_gets_nothing_done(world: World, tried: Tried) -> None:
    simulator = await world.simulator()
    served = await world.gateway(simulator.urls)
    tried.times = 0
    for host, target in (("evil.example", "localhost"), ("rebind.example", "rebind.example")):
        known = f'const API = "http://{target}:{served.port}", ADMIN = "http://{target}:{served.admin_port}";'
        async with page(f'{known} const CHAT = "{CHAT}"; {ALL}') as port:
            told = await opened(f"http://{host}:{port}/", world.folder)
        readable = {name: answer for name, answer in told.items() if answer[0] not in ("opaque", "error")}
        assert not readable
        tried.times += len(told) + 1
    assert sent(simulator) == 0
    assert not served.shutdown.requested.is_set()
    codes = {exchange.outcome.error_code for exchange in served.exchanges if exchange.method == "POST"}
    assert codes == {"origin_refused", "host_refused"}
    assert sum(exchange.method == "POST" for exchange in served.exchanges) >= 12


@pytest.mark.attack("http", "a page in a real browser whose origin matches a pattern")
async def test_an_allowed_page_is_served(world: World) -> None:
    simulator = await world.simulator()
    served = await world.gateway(simulator.urls, cors={"origins": ["http://*.example.com:*"]})
    script = f"""
const body = {{model: "llama3", messages: [{{role: "user", content: "x"}}], max_tokens: 2}};
const post = {{method: "POST", headers: {{"content-type": "application/json", authorization: "Bearer x"}}}};
const url = "http://localhost:{served.port}{CHAT}";
tried.whole = await ask(url, {{...post, body: JSON.stringify(body)}});
tried.stream = await ask(url, {{...post, body: JSON.stringify({{...body, stream: true}})}});
tried.health = await ask("http://localhost:{served.port}/health");
"""
    async with page(script) as port:
        told = await opened(f"http://chat.example.com:{port}/", world.folder)
    assert all(answer[:2] == ["cors", 200] for answer in told.values()), told
    assert told["stream"][2].endswith("data: [DONE]\n\n")
    assert sent(simulator) == 2
