"""A curl command line, sent by Python: the tests need no curl, and refuse flags whose meaning they do not know."""

import http.client
import shlex
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

TIMEOUT_SECONDS = 60.0
_WITHOUT_MEANING = ("-N", "-s", "-i", "-sS")


class Request(NamedTuple):
    """What a curl command asks for."""

    method: str
    authority: str
    target: str
    headers: dict[str, str]
    body: bytes | None


class Answer(NamedTuple):
    """Status, headers (lower case names) and text."""

    status: int
    headers: dict[str, str]
    text: str


def parse(command: str) -> Request:
    """The request of a curl command. Fails for what curl or a shell would take in another way."""
    words = iter(shlex.split(command.replace("\\\n", " "))[1:])
    url, method, headers, body = "", "", {}, None
    for word in words:
        if word in ("-X", "--request"):
            method = next(words)
        elif word in ("-H", "--header"):
            name, _, value = next(words).partition(":")
            headers[name.lower()] = value.strip()
        elif word in ("-d", "--data"):
            body = next(words).replace("\n", "").encode()  # curl drops line ends of -d only from files
        elif not word.startswith("-"):
            assert not url, f"two URLs: {command}"
            url = word
        else:
            assert word in _WITHOUT_MEANING, f"a flag that this test does not know: {word}"
    parts = urlsplit(url)
    assert parts.scheme == "http", command
    if body is not None:
        headers.setdefault("content-type", "application/x-www-form-urlencoded")  # as curl does
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Request(method or ("POST" if body is not None else "GET"), parts.netloc, target, headers, body)


def send(request: Request, places: Mapping[str, str]) -> Answer:
    """Sends it to where `places` says that its `host:port` is."""
    assert request.authority in places, f"nothing listens at {request.authority} in these tests"
    connection = http.client.HTTPConnection(places[request.authority], timeout=TIMEOUT_SECONDS)
    try:
        connection.request(request.method, request.target, request.body, request.headers)
        answer = connection.getresponse()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, headers, answer.read().decode())
    finally:
        connection.close()
