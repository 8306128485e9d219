"""Leaving a section out never turns off protection: a reload needs the words, and `--require` demands sections."""

from pathlib import Path

import pytest

from ai_gateway.config.protection import REQUIRABLE, names_in
from ai_gateway.config.sections import OFF
from ai_gateway.config.state import ConfigState, Startup

AUTH = "auth: {methods: [kubernetes]}"
CALLERS = "callers: [{match: {group: a}}]"
LIMITS = "limits: {default: {rpm: 60}}"
# The content in force, the next one, and the path of the reason; None for an edit that is accepted.
RELOADS = [
    (AUTH, "models: {a: }", "auth"),
    (AUTH, "auth: {methods: [none]}", None),
    (AUTH, "auth: {methods: [kubernetes], audience: other}", None),
    (AUTH, "auth: {audience: x}", "auth.methods"),
    (AUTH, "auth: {}", "auth.methods"),
    (AUTH, "auth:", "auth"),
    (f"{AUTH}\n{CALLERS}", AUTH, "callers"),
    (f"{AUTH}\n{CALLERS}", f"{AUTH}\ncallers:", "callers"),
    (f"{AUTH}\n{CALLERS}", f"{AUTH}\ncallers: all", None),
    (f"{AUTH}\n{CALLERS}", f"{AUTH}\ncallers: []", None),
    (f"{AUTH}\n{CALLERS}", f"{AUTH}\ncallers: [{{match: {{group: b}}}}]", None),
    (f"{AUTH}\ncallers: []", AUTH, "callers"),
    (LIMITS, "models: {a: }", "limits"),
    (LIMITS, "limits:", "limits"),
    (LIMITS, "limits: {}", None),
    (LIMITS, "limits: {default: }", "limits"),
    (LIMITS, "limits: {default: , tenants: }", "limits"),
    (LIMITS, "limits: {default: , tenants: {a: {rpm: 1}}}", None),
    (LIMITS, "limits: none", None),
    (LIMITS, "limits: {default: {rpm: 6000}}", None),
    (LIMITS, "limits: {tenants: {a: {rpm: 1}}}", None),
    ("limits: {models: {a: {rpm: 1}}}\nmodels: {a: }", "models: {a: }", "limits"),
    ("audit: {mode: strict}", "models: {a: }", "audit"),
    ("audit: {mode: strict}", "audit:", "audit"),
    ("audit: {mode: strict}", "audit: {level: full}", "audit.mode"),
    ("audit: {mode: strict}", "audit: {mode: blocking}", None),
    ("audit: {mode: blocking}", "audit: {mode: best_effort}", None),
    ("audit: {mode: blocking}", "audit: {store: none}", None),
    ("audit: {store: none}", "models: {a: }", None),
    ("audit: {redact: [secret]}", "models: {a: }", "audit"),
    ("audit: {keep: 365d}", "models: {a: }", "audit"),
    ("audit: {keep: 1d}", "models: {a: }", None),
    ("audit: {path: x}", "models: {a: }", None),
    ("models: {a: }", AUTH, None),
    ("auth: {methods: [none]}\nlimits: none", "models: {a: }", None),
    ("cors: {origins: ['*']}\ntrusted_proxies: [10.0.0.1]\nbody: {max_bytes: 1MiB}", "models: {a: }", None),
]


async def reloaded(*contents: str) -> ConfigState:
    """A config state after these contents, in order."""
    live = ConfigState("the test", lambda config: None)
    for content in contents:
        await live.submit(content.encode())
    return live


@pytest.mark.parametrize(("before", "after", "path"), RELOADS, ids=lambda value: str(value).replace("\n", "; "))
async def test_a_reload_turns_off_protection_only_in_words(before: str, after: str, path: str | None) -> None:
    """An edit within a section is accepted."""
    live = await reloaded(before)
    assert live.reasons == []
    in_force = live.config
    await live.submit(after.encode())
    assert [reason.path for reason in live.reasons] == ([] if path is None else [path])
    assert (live.config is in_force) == (path is not None)


@pytest.mark.parametrize("section", ["auth", "callers", "limits", "audit"])
async def test_the_reason_names_a_line_that_is_accepted(section: str) -> None:
    """Word for word."""
    before = {"auth": AUTH, "callers": f"{AUTH}\n{CALLERS}", "limits": LIMITS, "audit": "audit: {mode: strict}"}
    around = f"{AUTH}\n" if section == "callers" else ""
    live = await reloaded(before[section], f"{around}models: {{a: }}")
    ((path, message),) = live.reasons
    line = message.partition("write `")[2].partition("`")[0]
    assert (path, line) == (section, OFF[section])
    assert await live.submit(f"{around}{line}".encode()) == []


async def test_a_section_that_was_turned_off_may_be_removed() -> None:
    """It turns nothing off any more."""
    live = await reloaded(LIMITS, "limits: none", "models: {a: }")
    assert live.reasons == []


async def test_refused_content_is_accepted_once_it_turns_nothing_off() -> None:
    """The same content: the config in force decides."""
    open_to_all = "models: {a: }"
    live = await reloaded(LIMITS, open_to_all)
    assert live.reasons
    await live.submit(b"limits: none")
    assert await live.submit(open_to_all.encode()) == []


async def test_a_client_ca_is_turned_off_only_in_words(pair: tuple[Path, Path], ca: Path) -> None:
    """It is how clients prove who they are."""
    files = f"certificate: {pair[0]}, key: {pair[1]}"
    live = await reloaded(f"tls: {{{files}, client_ca: {ca}}}", f"tls: {{{files}}}")
    assert [reason.path for reason in live.reasons] == ["tls.client_ca"]
    assert await live.submit(f"tls: {{{files}, client_ca: none}}".encode()) == []
    assert live.config is not None
    assert live.config.tls is not None
    assert live.config.tls.client_ca is None


async def test_https_is_turned_off_only_in_words(pair: tuple[Path, Path]) -> None:
    live = await reloaded(f"tls: {{certificate: {pair[0]}, key: {pair[1]}}}", "models: {a: }")
    assert [reason.path for reason in live.reasons] == ["tls"]
    assert await live.submit(b"tls: none") == []


@pytest.mark.parametrize("content", ["models: {a: }", "limits: {default: {rpm: 1}}", "auth:", "auth: {}"])
async def test_content_without_a_required_section_is_refused(content: str) -> None:
    """Not even the first one."""
    live = ConfigState("the test", lambda config: None, startup=Startup(names_in("auth,limits")))
    assert await live.submit(content.encode())
    assert live.config is None


@pytest.mark.parametrize("name", REQUIRABLE)
async def test_a_line_that_turns_a_section_off_satisfies_the_requirement(name: str) -> None:
    """You wrote it, so you meant it."""
    live = ConfigState("the test", lambda config: None, startup=Startup(names_in(name)))
    assert [reason.path for reason in await live.submit(b"models: {a: }")] == [name]
    assert await live.submit(OFF[name].encode()) == []


def test_names_of_required_sections_are_separated_by_commas() -> None:
    """An empty list requires nothing; an unknown name is a mistake."""
    assert names_in(" auth, limits,,audit ") == {"auth", "limits", "audit"}
    assert names_in("") == frozenset()
    with pytest.raises(ValueError, match="'model' is not one of auth, callers, limits, audit, tls"):
        names_in("auth,model")
