"""What must not be kept is taken out, wherever it stands in a request, and what only looks like it stays."""

import json
from typing import Any

import pytest
from tests.cost import assert_cheap

from ai_gateway.audit.redaction import CUT, OVERLAP, redaction
from ai_gateway.telemetry.content import KeptContent
from ai_gateway.wire.call import read_call
from ai_gateway.wire.operations import CHAT

CARD = "4111 1111 1111 1111"  # a test number that every payment service knows
KEY = "sk-abcdefghijklmnopqrstuvwxyz0123"
SECRETS = {
    "alice@mail.example.com": "[email]",
    CARD: "[card]",
    CARD.replace(" ", ""): "[card]",
    "+49 170 1234567": "[phone]",
    KEY: "[key]",
    "github_pat_11ABCDEFG0abcdefghijklmnop": "[key]",
    "AKIAIOSFODNN7EXAMPLE": "[key]",
    "eyJhbGciOiJIUzI1NiJ9abcdefgh.abc": "[key]",
    "Bearer abcdefghijklmnop+/xyz==": "[key]",
    "Basic dXNlcjpwYXNzd29yZDEyMw==": "[key]",
    "AB-1234": "[redacted]",
}
BEFORE = (" ", "\n", "\t", "\r\n", '"', "\\", "\u00a0", "\u00e9 ", "\u5bc6\u94a5\uff1a", "\U0001f511", "\u2028")


def kept(*messages: Any, most: int = 65536) -> Any:
    """The messages of a chat as the audit keeps them."""
    body = json.dumps({"model": "llama3", "messages": messages}).encode()
    text = redaction((r"AB-\d{4}",), most)(KeptContent(read_call(CHAT, body), most + OVERLAP).asked() or "")
    assert len(text.encode()) <= most + 200, "the words of the form come on top, and they are few"
    return json.loads(text)


def said(text: str, most: int = 65536) -> str:
    """One message's text as the audit keeps it."""
    return str(kept({"role": "user", "content": text}, most=most)[0]["parts"][0]["content"])


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("write to jo.doe+x@mail.example.com today", "write to [email] today"),
        ("mail\u00e9@example.com", "[email]"),
        (f"pay with {CARD}.", "pay with [card]."),
        (f"order 12 {CARD} 99", "order 12 [card] 99"),
        (f"order 1234 {CARD}", "order 1234 [card]"),
        ("pay with 4111-1111-1111-1112.", "pay with 4111-1111-1111-1112."),  # its check digit is wrong
        ("call +49 30 1234567 now", "call [phone] now"),
        ("2026-11-28 17:00 and 1795886674441443981", "2026-11-28 17:00 and 1795886674441443981"),
        ("Authorization: Bearer " + "a" * 20, "Authorization: [key]"),
        ("Authorization: basic dTpw", "Authorization: [key]"),
        ("basic training, basic responsibilities", "basic training, basic responsibilities"),
        ("postgresql://u:hunter2pass@db:5432/x", "postgresql://[password]@db:5432/x"),
        ("http://localhost:8080/a and https://h/@me", "http://localhost:8080/a and https://h/@me"),
        ("key gw_" + "b" * 24 + " end", "key [key] end"),
        ("a task is not a key: task_management_and_more", "a task is not a key: task_management_and_more"),
        ("skateboardingchampionships", "skateboardingchampionships"),
        ("order AB-1234 and AB-99", "order [redacted] and AB-99"),
        ("eyJ" + "a" * 9000, "[key]"),
        ("nothing to see", "nothing to see"),
    ],
)
def test_what_is_found_is_replaced_by_its_name(text: str, kept: str) -> None:
    assert redaction((r"AB-\d{4}",), 20_000)(text) == kept


@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize("secret", SECRETS)
def test_it_is_found_behind_anything_that_may_stand_in_a_request(secret: str, before: str) -> None:
    """JSON writes a newline as a letter behind a backslash; that letter must not hide what follows."""
    assert said(f"this:{before}{secret}\nthat") == f"this:{before}{SECRETS[secret]}\nthat"


@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize("secret", SECRETS)
def test_it_is_found_in_tool_calls_however_deep_their_json(secret: str, before: str) -> None:
    inner = json.dumps({"note": f"this:{before}{secret}", f"{before}{secret}": [1.5, None]})
    call = {"id": "c1", "function": {"name": "save", "arguments": json.dumps({"all": [{"inner": inner}]})}}
    told = kept({"role": "assistant", "tool_calls": [call]}, {"role": "tool", "tool_call_id": "c1", "content": inner})
    name = SECRETS[secret]
    wanted = {"note": f"this:{before}{name}", f"{before}{name}": [1.5, None]}
    assert json.loads(json.loads(told[0]["parts"][0]["arguments"])["all"][0]["inner"]) == wanted
    assert json.loads(told[1]["parts"][0]["response"]) == wanted


@pytest.mark.parametrize(
    "secret", sorted(SECRETS.keys() - {"alice@mail.example.com"})
)  # a letter is part of an address
def test_a_script_without_spaces_hides_nothing(secret: str) -> None:
    assert said(f"\u5bc6\u94a5{secret}\u3002") == f"\u5bc6\u94a5{SECRETS[secret]}\u3002"


def test_a_number_may_be_a_card() -> None:
    call = {"id": "4111111111111111", "function": {"name": "pay", "arguments": '{"card": 4111111111111111, "n": 2}'}}
    part = kept({"role": "assistant", "tool_calls": [call]})[0]["parts"][0]
    assert (part["id"], part["arguments"]) == ("[card]", '{"card": [card], "n": 2}')


@pytest.mark.parametrize("secret", SECRETS)
def test_wherever_the_cut_falls_no_part_of_it_stays(secret: str) -> None:
    """In a text, in the arguments of a tool call, and in what a compressed text lets in from behind the size."""
    text = f"say\n{secret}\n" + "and so on. " * 300
    call = {"id": "c1", "function": {"name": "save", "arguments": json.dumps({"a": text})}}
    many = f"{secret}\n" * 200
    for most in range(1, 140):
        for messages in (
            ({"role": "user", "content": text},),
            ({"role": "user", "content": many},),
            ({"role": "user", "content": "hello"}, {"role": "assistant", "tool_calls": [call]}),
        ):
            told = json.dumps(kept(*messages, most=most), ensure_ascii=False)
            for size in range(5, len(secret) + 1):
                assert secret[:size] not in told, most


@pytest.mark.parametrize("kinds", [("reasoning", "content"), ("content", "reasoning")])
def test_an_answer_that_comes_in_pieces_is_redacted_as_a_whole(kinds: tuple[str, str]) -> None:
    for most in range(60, 200):
        call = read_call(CHAT, b'{"model":"m","messages":[{"role":"user","content":""}]}')
        content = KeptContent(call, most + OVERLAP)
        feed = content.wrap_feed(lambda data: data)
        for kind in kinds:
            for piece in ("say\n", KEY[:9], KEY[9:], *["\nand so on"] * 200, KEY[:9], KEY[9:]):
                feed(b"data: " + json.dumps({"choices": [{"delta": {kind: piece}}]}).encode() + b"\n\n")
        told = redaction((), most)(content.answered() or "")
        assert json.loads(told)[0]["role"] == "assistant"
        assert KEY[:5] not in told


def test_what_is_too_long_is_cut_at_a_character() -> None:
    redact = redaction((), 10)
    assert redact("0123456789") == "0123456789"
    assert redact("0123456789a") == "0123456…"
    assert redact("ééééééé") == "ééé…"
    assert len(redact("é" * 1000).encode()) <= 10


def test_the_size_is_that_of_the_json() -> None:
    """What is written as two or six characters counts as so many."""
    assert len(said("\n\x01" * 5000, most=1000)) < 1000
    many = kept(*({"role": "user", "content": ""} for _ in range(10_000)), most=1000)
    assert len(many) < 50


def test_json_that_goes_too_deep_is_left_out() -> None:
    told = redaction((), 100_000)("[" * 900 + "]" * 900)
    assert told == "[" * 100 + f'"{CUT}"' + "]" * 100


@pytest.mark.parametrize(
    "text",
    [
        *("a@" * 40_000, "a" * 80_000, ("a" * 63 + "@" + "b" * 253) * 250, "a@" + "b." * 40_000, "1 " * 40_000),
        *("1" * 80_000, "+1 " * 27_000, "://:" * 20_000, "bearer " * 12_000, "\\n" * 40_000, "4111 " * 16_000),
    ],
)
def test_no_text_costs_much(text: str) -> None:
    """Whoever asks chooses the text, and the writer's thread must go on."""
    assert_cheap(lambda: redaction((), 65536)(text), 2.0)


def test_a_text_costs_no_more_than_its_size() -> None:
    """Only so much of it is looked at."""
    text = "a@ " * 5_000_000
    assert redaction((), 1000)(text).endswith("…")
    assert_cheap(lambda: redaction((), 1000)(text), 0.2)
