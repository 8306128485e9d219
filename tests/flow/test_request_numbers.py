"""What calls leave in the metrics of a whole gateway, and what its models and endpoints say while they run."""

from tests.flow.scraping import of, scraped
from tests.flow.upstream import Gate, Visit, answer_well, whole
from tests.flow.waiting import until
from tests.flow.world import CHAT, World, chat, config

from ai_gateway.balancing.endpoint import THRESHOLD


async def test_a_model_without_calls_has_its_lines(world: World) -> None:
    """Zeros, by its id in the config: a dashboard has no holes, and an autoscaler something to read."""
    policy = {"slots": 3, "policy": "least_in_flight"}  # loaded or not
    served = await world.gateway((await world.simulator(2)).urls, balancing=policy)
    samples = await scraped(served)
    assert of(samples, "demand") == {'model="llama3"': 0, 'model="coder"': 0, 'model="embed"': 0}
    assert set(of(samples, "in_flight").values()) == set(of(samples, "queued").values()) == {0}
    assert of(samples, "slots")['model="coder",state="free"'] == 6
    assert of(samples, "slots")['model="coder",state="used"'] == 0
    assert of(samples, "slot_saturation")['model="coder"'] == 0
    assert (samples["retry_budget"], samples["retries_in_flight"]) == (3, 0)


async def test_a_model_on_no_endpoint_is_saturated(world: World) -> None:
    """There is no slot: an autoscaler must not think that all is quiet."""
    served = await world.gateway(["http://127.0.0.1:9"])
    samples = await scraped(served)
    assert of(samples, "slot_saturation")['model="coder"'] == 1
    assert of(samples, "slots")['model="coder",state="free"'] == 0


async def test_calls_under_way_and_waiting_are_the_demand(world: World) -> None:
    """One runs, two wait; an alias is its model."""
    gate = Gate()
    upstream = await world.upstream(gate.act, models=("codellama:13b",))
    served = await world.gateway([upstream.url], balancing={"slots": 1})
    lines = [await served.begin(chat(model="code", stream=True)) for _ in range(3)]
    await until(lambda: served.waiting == 2 and upstream.visits)
    samples = await scraped(served)
    assert [of(samples, name)['model="coder"'] for name in ("in_flight", "queued", "demand")] == [1, 2, 3]
    assert of(samples, "slots")['model="coder",state="used"'] == 1
    assert of(samples, "slot_saturation")['model="coder"'] == 1
    assert of(samples, "endpoint_in_flight") == {f'upstream="{upstream.address}",upstream_pod=""': 1}
    gate.opened.set()
    for line in lines:
        await line.reply()


async def test_each_request_is_counted_by_how_it_ended(world: World) -> None:
    """A whole answer, a stream, an error, a path and a model that nobody knows."""
    simulator = await world.simulator()
    served = await world.gateway(simulator.urls)
    await served.chat()
    await served.chat(stream=True)
    await served.ask("POST", CHAT, chat(model="coder", n=2))
    await served.ask("POST", CHAT, chat(model="MADE-UP"))
    await served.ask("GET", "/MADE-UP")
    await until(lambda: len(served.exchanges) == 5)
    requests = of(await scraped(served), "requests_total")
    ok = 'caller="anonymous",code="",error_type="",model="llama3",route="/v1/chat/completions",status="200"'
    assert requests.pop(ok) == 2
    refused = {key.split('code="')[1].partition('"')[0]: key for key in requests}
    assert set(refused) == {"invalid_value", "model_not_found", "not_found"}
    assert set(requests.values()) == {1}
    assert 'model=""' in refused["model_not_found"]
    assert 'model="",route="",status="404"' in refused["not_found"]


async def test_nothing_that_a_client_makes_up_is_in_any_label(world: World) -> None:
    """Nor what stands on an endpoint's disk and not in the config."""
    simulator = await world.simulator(models=("llama3:latest", "secret-model:latest"))
    served = await world.gateway(simulator.urls)
    await served.chat()
    for body in (chat(model="MADE-UP"), b"{", chat(model="llama3 MADE-UP")):
        await served.ask("POST", CHAT, body, {"x-request-id": "MADE-UP", "user-agent": "MADE-UP"})
    await served.ask("MADEUP", "/MADE-UP?MADE-UP")
    await until(lambda: len(served.exchanges) >= 4)
    text = (await served.probe("/metrics")).body.lower()
    assert not [word for word in (b"made-up", b"madeup", b"secret-model") if word in text]


async def test_a_client_that_left_is_no_failure(world: World) -> None:
    """It has a code of its own, and the slot is free again."""
    gate = Gate()
    upstream = await world.upstream(gate.act)
    served = await world.gateway([upstream.url])
    line = await served.begin(chat(stream=True))
    await line.head()
    await line.event()
    line.vanish()
    await served.recorded()
    samples = await scraped(served)
    ((labels, count),) = of(samples, "requests_total").items()
    assert count == 1
    assert 'code="client_left",error_type=""' in labels
    assert of(samples, "in_flight")['model="llama3"'] == 0
    assert not of(samples, "gen_ai_server_time_to_first_token_seconds_count")


async def test_a_retry_is_counted_with_the_endpoint_that_made_it_necessary(world: World) -> None:
    """Two picks, one retry; the failure is the first one's alone."""

    async def fail(visit: Visit) -> None:
        await visit.say(whole(b"{}", "500 Internal Server Error"))

    bad, good = await world.upstream(fail), await world.upstream(answer_well, models=())
    served = await world.gateway([bad.url, good.url])

    good.models = ("llama3:latest",)
    await until(lambda: served.endpoint(good.address).holds("llama3:latest"))
    number = 0
    while not bad.visits:  # its hash decides where a new conversation begins
        number += 1
        assert (await served.chat(f"question {number}")).status == 200
    await until(lambda: served.is_idle)
    samples = await scraped(served)
    assert of(samples, "retries_total") == {'model="llama3"': 1}
    assert sum(of(samples, "picks_total").values()) == len(bad.visits) + len(good.visits)
    failures = of(samples, "endpoint_failures_total")
    assert failures == {f'upstream="{bad.address}",upstream_pod=""': 1, f'upstream="{good.address}",upstream_pod=""': 0}
    attempts = of(samples, "endpoint_attempts_total")
    assert attempts[f'upstream="{good.address}",upstream_pod=""'] == len(good.visits)


async def test_endpoints_tell_what_they_loaded_and_when_they_were_seen(world: World) -> None:
    """Only models that are served have a line; what was loaded before the first look is no load."""
    simulator = await world.simulator(models=("llama3:latest", "codellama:13b"))
    served = await world.gateway(simulator.urls)
    endpoint = f'upstream="{simulator.addresses[0]}"'
    assert (await served.chat()).status == 200
    await until(lambda: served.endpoint(simulator.addresses[0]).resident)
    samples = await scraped(served)
    assert of(samples, "endpoint_resident") == {f'model="llama3",{endpoint},upstream_pod=""': 1}
    assert of(samples, "endpoint_loads_total") == {f'{endpoint},upstream_pod=""': 1}
    assert of(samples, "endpoint_unloads_total") == {f'{endpoint},upstream_pod=""': 0}
    assert of(samples, "endpoint_up") == {f'{endpoint},upstream_pod=""': 1}
    assert of(samples, "endpoint_ejected") == {f'{endpoint},upstream_pod=""': 0}
    assert 0 <= of(samples, "endpoint_poll_age_seconds")[f'{endpoint},upstream_pod=""'] < 5


async def test_an_endpoint_that_never_answered_has_no_age(world: World) -> None:
    served = await world.gateway(["http://127.0.0.1:9"])
    samples = await scraped(served)
    assert of(samples, "endpoint_up") == {'upstream="127.0.0.1:9",upstream_pod=""': 0}
    assert not of(samples, "endpoint_poll_age_seconds")


async def test_endpoints_behind_one_port_have_different_labels(world: World) -> None:
    """Two series with the same labels would cost Prometheus the whole scrape."""
    served = await world.gateway(["http://127.0.0.1:9/a", "http://127.0.0.1:9/b", "http://127.0.0.1:9/c"])
    found = of(await scraped(served), "endpoint_up")
    assert set(found) == {
        'upstream="127.0.0.1:9",upstream_pod=""',
        'upstream="http://127.0.0.1:9/b",upstream_pod=""',
        'upstream="http://127.0.0.1:9/c",upstream_pod=""',
    }


async def test_a_model_that_fails_on_an_endpoint_has_no_free_slot_there(world: World) -> None:
    """As with an endpoint that is ejected whole: what gets no calls is no capacity."""
    first, second = await world.upstream(answer_well), await world.upstream(answer_well)
    served = await world.gateway([first.url, second.url], balancing={"slots": 2})
    assert of(await scraped(served), "slots")['model="llama3",state="free"'] == 4
    bad = served.endpoint(first.address)
    for _ in range(THRESHOLD):
        served.gateway.fleet.failed_model(bad, "llama3:latest")
    assert of(await scraped(served), "slots")['model="llama3",state="free"'] == 2
    for _ in range(THRESHOLD):
        served.gateway.fleet.failed(served.endpoint(second.address))
    samples = await scraped(served)
    assert of(samples, "slots")['model="llama3",state="free"'] == 0
    assert of(samples, "slot_saturation")['model="llama3"'] == 1
    assert of(samples, "endpoint_ejected")[f'upstream="{second.address}",upstream_pod=""'] == 1


async def test_a_stream_on_an_endpoint_that_leaves_is_still_in_flight(world: World) -> None:
    """It is demand, and no used slot: nothing comes free there. Nor is it down, for it leaves as it shall."""
    gate = Gate()
    leaving, staying = await world.upstream(gate.act), await world.upstream(answer_well)
    served = await world.gateway([leaving.url])
    line = await served.begin(chat(stream=True))
    await line.head()
    await served.reload(config([staying.url]))
    await until(lambda: [e.holds("llama3:latest") for e in served.gateway.fleet.endpoints.values()] == [True])
    samples = await scraped(served)
    assert of(samples, "in_flight")['model="llama3"'] == of(samples, "demand")['model="llama3"'] == 1
    assert of(samples, "slots")['model="llama3",state="used"'] == 0
    assert of(samples, "endpoint_in_flight")[f'upstream="{leaving.address}",upstream_pod=""'] == 1
    assert list(of(samples, "endpoint_up")) == [f'upstream="{staying.address}",upstream_pod=""']
    gate.opened.set()
    await line.rest()


async def test_a_model_that_was_found_has_one_name(world: World) -> None:
    """Ollama's, however it was asked for: gauges and counters must meet."""
    served = await world.gateway((await world.simulator()).urls, models={}, catalog={"discover": True})
    for asked in ("llama3", "llama3:latest"):
        assert (await served.chat(model=asked)).status == 200
    await served.recorded(2)
    samples = await scraped(served)
    assert of(samples, "retries_total") == {'model="llama3:latest"': 0}
    assert 'model="llama3:latest"' in of(samples, "demand")
