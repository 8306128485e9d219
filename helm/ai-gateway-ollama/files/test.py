"""`helm test`: URL SECONDS [--without-ollama]. Asks the gateway there for its models and its health, again and again
until both are well or the time is over, and says what it saw.

Well is a gateway with a config that can reach an Ollama; `--without-ollama` does not ask for the latter.
"""

import json
import ssl
import sys
import time
from urllib.error import HTTPError
from urllib.request import urlopen

ANSWER_SECONDS = 10.0
PAUSE_SECONDS = 1.0
MOST_ENDPOINTS = 20  # that are named
HIDDEN = "only an admin sees the reason: GET /v1/health with an admin's key"


def ask(url: str) -> tuple[int, dict]:
    """Status and content. The certificate is not checked: it may be for the name that users call."""
    unverified = ssl._create_unverified_context()  # noqa: S323 - see above
    try:
        with urlopen(url, timeout=ANSWER_SECONDS, context=unverified) as reply:  # noqa: S310 - the chart's own URL
            return reply.status, in_json(reply)
    except HTTPError as error:
        return error.code, in_json(error)


def in_json(reply: object) -> dict:
    """The content of a reply; nothing where somebody else answers, such as a proxy with a page."""
    try:
        content = json.load(reply)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def look(base: str, needs_ollama: bool) -> tuple[bool, list[str]]:
    """Whether all is well, and what was seen."""
    try:
        status, models = ask(f"{base}/models")
        _, health = ask(f"{base}/health")
    except (OSError, ValueError) as error:
        return False, [f"{base}: no answer: {error}"]
    ids = [model.get("id", "?") for model in models.get("data") or ()]
    gateway, ollama = health.get("gateway"), health.get("ollama")
    seen = [" ".join([f"{base}/models: {status}", *ids]), f"{base}/health: gateway {gateway}, ollama {ollama}"]
    # 401: it lets in only whom it knows, and this test has nothing to show.
    is_well = status in (200, 401) and gateway == "ok" and not (needs_ollama and ollama == "unavailable")
    return is_well, seen if is_well else [*seen, *reasons(health)]


def reasons(health: dict) -> list[str]:
    """What health tells of discovery, whatever that is, and of each endpoint that is not up."""
    discovery = health.get("discovery")
    if not isinstance(discovery, dict):
        return [HIDDEN] if "gateway" in health else []
    told = [f"discovery: {key}: {in_words(value)}" for key, value in discovery.items() if value not in (None, [], "")]
    for endpoint in (health.get("endpoints") or [])[:MOST_ENDPOINTS]:
        if isinstance(endpoint, dict) and endpoint.get("state") != "up":
            told.append(f"endpoint {endpoint.get('address')}: {endpoint.get('state')}, {endpoint.get('complaint')}")
    return told


def in_words(value: object) -> str:
    """Lists without brackets, objects as `key value`."""
    if isinstance(value, list):
        return "; ".join(map(in_words, value))
    if isinstance(value, dict):
        return ", ".join(f"{key} {in_words(one)}" for key, one in value.items() if one not in (None, [], ""))
    return str(value)


def main(base: str, seconds: str, *flags: str) -> int:
    """Exit status 0 once all is well."""
    ends_at = time.monotonic() + float(seconds)
    is_told = False
    while True:
        is_well, seen = look(base, "--without-ollama" not in flags)
        if is_well or time.monotonic() >= ends_at:
            print(*seen, sep="\n")
            return 0 if is_well else 1
        if not is_told:
            is_told = True
            print(*seen, f"not yet; waiting for up to {float(seconds):g} s", sep="\n", flush=True)
        time.sleep(PAUSE_SECONDS)


sys.exit(main(*sys.argv[1:]))
