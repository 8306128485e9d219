"""Where endpoints come from: the config, else the surroundings, else nothing; never an invention."""

from contextlib import aclosing
from pathlib import Path

import pytest

from ai_gateway.cluster.access import Access
from ai_gateway.cluster.api import ApiServer
from ai_gateway.config.types import Discovery, Dns, Kubernetes, StaticUpstream
from ai_gateway.config.units import FilePath
from ai_gateway.discovery.local import LOCAL
from ai_gateway.discovery.selection import DiscoveryInputs, choose, finds_nothing
from ai_gateway.discovery.source import Source
from ai_gateway.wire.address import Address

STATIC = Discovery(static=("http://a:1",))
NOWHERE = Path("/nowhere")


@pytest.fixture
def account(tmp_path: Path) -> Path:
    """The folder of a ServiceAccount, as it is mounted in pods."""
    (tmp_path / "token").touch()
    return tmp_path


def around(
    ollama_host: str = "", answers: bool = False, account: Path = NOWHERE, context: str | None = None
) -> DiscoveryInputs:
    async def does_answer(address: Address) -> bool:
        assert address == LOCAL
        return answers

    access = Access(context=context, service_account=account)
    return DiscoveryInputs({"OLLAMA_HOST": ollama_host} if ollama_host else {}, does_answer, ApiServer(access))


async def first_list(source: Source) -> tuple[Address, ...]:
    async with aclosing(source.lists()) as lists:
        return (await anext(lists)).addresses


async def test_the_config_goes_before_all_else(account: Path) -> None:
    """Also in a cluster, and with OLLAMA_HOST set."""
    source = choose(STATIC, around("b", answers=True, account=account))
    assert (source.name, await first_list(source)) == ("static", (Address("a", 1),))


async def test_an_empty_list_in_the_config_is_an_answer() -> None:
    """Whoever wrote it wants no endpoint, and no guess."""
    source = choose(Discovery(static=()), around("b", answers=True))
    assert await first_list(source) == ()


async def test_in_a_cluster_pods_are_looked_for(account: Path) -> None:
    """A ServiceAccount's token tells; OLLAMA_HOST is not asked then."""
    assert choose(None, around("b", answers=True, account=account)).name == "kubernetes pods"


async def test_a_cluster_that_a_person_names_is_looked_at() -> None:
    """From outside, by --context or --kubeconfig."""
    assert choose(None, around("b", answers=True, context="staging")).name == "kubernetes pods"


@pytest.mark.parametrize(
    ("discovery", "name"),
    [
        (Discovery(kubernetes=Kubernetes()), "kubernetes pods"),
        (Discovery(kubernetes=Kubernetes(mode="endpointslices", service="ollama")), "kubernetes endpoint slices"),
        (Discovery(dns=Dns(name="ollama.test")), "dns ollama.test"),
    ],
)
async def test_the_config_may_name_other_sources(discovery: Discovery, name: str) -> None:
    """Wherever the gateway runs."""
    assert choose(discovery, around("b")).name == name


async def test_ollama_host_goes_before_localhost() -> None:
    """Read as Ollama's own client reads it."""
    source = choose(None, around(" 0.0.0.0:1234 ", answers=True))
    assert (source.name, await first_list(source)) == ("OLLAMA_HOST", (Address("127.0.0.1", 1234),))


async def test_without_all_that_an_ollama_on_this_machine_is_looked_for() -> None:
    """And found as soon as it answers."""
    source = choose(Discovery(), around(answers=True))
    assert (source.name, await first_list(source)) == ("local", (LOCAL,))


async def test_upstreams_of_the_config_may_have_a_certificate_authority_each() -> None:
    """One listed twice is one endpoint."""
    upstreams = ("http://a", StaticUpstream("https://b", FilePath("ca.pem")), "http://a:11434/")
    source = choose(Discovery(static=upstreams), around())
    assert await first_list(source) == (Address("a"), Address("b", 443, "https", "", "ca.pem"))


@pytest.mark.parametrize(
    ("discovery", "ollama_host", "answers", "nothing"),
    [
        (None, "", False, True),
        (Discovery(), "", False, True),
        (None, "", True, False),
        (None, "b", False, False),
        (STATIC, "", False, False),
        (Discovery(static=()), "", False, False),
        (Discovery(dns=Dns(name="ollama.test")), "", False, False),
    ],
)
async def test_a_demo_is_for_those_who_have_nothing(
    discovery: Discovery | None, ollama_host: str, answers: bool, nothing: bool
) -> None:
    """A named endpoint that is down is still one that was named."""
    assert await finds_nothing(discovery, around(ollama_host, answers)) is nothing


async def test_a_demo_is_not_for_a_cluster(account: Path) -> None:
    """Words without meaning would be served to an application."""
    assert not await finds_nothing(None, around(account=account))
