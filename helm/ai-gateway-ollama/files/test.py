"""Asks the gateway at the URL in the arguments for its models and its health; says what it saw."""

import json
import ssl
import sys
from urllib.error import HTTPError
from urllib.request import urlopen

ANSWER_SECONDS = 10.0


def ask(url: str) -> tuple[int, dict]:
    """Status and content. The certificate is not checked: it may be for the name that users call."""
    unverified = ssl._create_unverified_context()  # noqa: S323 - see above
    try:
        with urlopen(url, timeout=ANSWER_SECONDS, context=unverified) as reply:  # noqa: S310 - the chart's own URL
            return reply.status, json.load(reply)
    except HTTPError as error:
        return error.code, json.load(error)


base = sys.argv[1]
status, models = ask(f"{base}/models")
print(f"{base}/models: {status}", *[model["id"] for model in models.get("data", [])])
_, health = ask(f"{base}/health")
endpoints = len(health.get("endpoints", []))
print(f"{base}/health: gateway {health['gateway']}, ollama {health['ollama']}, {endpoints} endpoints")
# 401: it lets in only whom it knows, and this test has nothing to show.
sys.exit(0 if status in (200, 401) and health["gateway"] == "ok" else 1)
