"""What must not be kept is taken out, and what only looks like it stays."""

import pytest

from ai_gateway.audit.redaction import redaction

CARD = "4111 1111 1111 1111"  # a test number that every payment service knows


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("write to jo.doe+x@mail.example.com today", "write to [email] today"),
        (f"pay with {CARD}.", "pay with [card]."),
        ("pay with 4111-1111-1111-1112.", "pay with 4111-1111-1111-1112."),  # its check digit is wrong
        ("call +49 30 1234567 now", "call [phone] now"),
        ("2026-11-28 17:00 and 1795886674441443981", "2026-11-28 17:00 and 1795886674441443981"),
        ("Authorization: Bearer " + "a" * 20, "Authorization: [key]"),
        ("key gw_" + "b" * 24 + " end", "key [key] end"),
        ("a task is not a key: task_management_and_more", "a task is not a key: task_management_and_more"),
        ("order AB-1234 and AB-99", "order [redacted] and AB-99"),
        ("nothing to see", "nothing to see"),
    ],
)
def test_what_is_found_is_replaced_by_its_name(text: str, kept: str) -> None:
    assert redaction((r"AB-\d{4}",), 1000)(text) == kept


def test_what_is_too_long_is_cut_at_a_character() -> None:
    redact = redaction((), 10)
    assert redact("0123456789") == "0123456789"
    assert redact("0123456789a") == "0123456…"
    assert redact("ééééééé") == "ééé…"
    assert len(redact("é" * 1000).encode()) <= 10


def test_a_long_text_costs_little() -> None:
    """Only so much of it is looked at."""
    assert redaction((), 1000)("a@" * 5_000_000).endswith("…")
