"""A call is known by its conversation: by what the client calls it, or by the messages with which it begins."""

import json
from typing import Any

import pytest
from tests.wire.test_large import large

from ai_gateway.wire.call import Call, read_call
from ai_gateway.wire.conversation import Conversation, conversation_of
from ai_gateway.wire.leading import KEPT_ENDS, MESSAGE_BYTES, MOST_STEPS, STEP_BYTES
from ai_gateway.wire.operations import OPERATIONS, Operation
from ai_gateway.wire.placeholders import finished

SYSTEM = {"role": "system", "content": "Be brief."}
HELLO = {"role": "user", "content": "Hello"}
ANSWER = {"role": "assistant", "content": "Hi! What can I do?"}
MORE = {"role": "user", "content": "Tell me a story."}
FIRST_TURN = [SYSTEM, HELLO]
SECOND_TURN = [*FIRST_TURN, ANSWER, MORE]


def read(call: Call, caller: str = "caller:keys:bob", model: str = "llama3:latest", **more: Any) -> Conversation:
    """The conversation of a call."""
    found = finished(conversation_of(call, caller, model, **more))
    assert found is not None
    return found


def chat(messages: list[Any], **fields: Any) -> Call:
    """A small call."""
    return read_call(OPERATIONS["chat"], json.dumps({"model": "m", "messages": messages, **fields}).encode())


def completion(prompt: str) -> Call:
    """A call that continues a text."""
    return read_call(OPERATIONS["completions"], json.dumps({"model": "m", "prompt": prompt}).encode())


def said(count: int, text: str = "Go on.") -> list[Any]:
    """A conversation of so many messages, each with a text of its own."""
    roles = ("user", "assistant")
    return [SYSTEM, *({"role": roles[n % 2], "content": f"{n} {text}"} for n in range(count - 1))]


def test_the_next_turn_finds_what_the_last_one_left() -> None:
    """And prefers it to what an earlier turn left."""
    first, second = read(chat(FIRST_TURN)), read(chat(SECOND_TURN))
    third = read(chat([*SECOND_TURN, ANSWER, HELLO]))
    assert first.own in second.keys
    assert third.keys.index(second.own) < third.keys.index(first.own)


def test_a_call_that_is_sent_again_finds_itself_first() -> None:
    """A client that retries, or asks for another answer."""
    assert read(chat(SECOND_TURN)).keys[0] == read(chat(SECOND_TURN)).own


def test_a_turn_with_many_messages_finds_the_last_one() -> None:
    """Calls of tools and their results come as one turn."""
    before, after = read(chat(said(40))), read(chat(said(40 + KEPT_ENDS - 1)))
    assert before.own in after.keys


def test_keys_are_few_and_the_beginning_is_among_them() -> None:
    """A long conversation costs no more look-ups than a short one, and a branch of it finds where it began."""
    long = read(chat(said(300)))
    assert len(long.keys) == KEPT_ENDS + 1
    assert long.keys[-1] == read(chat(said(2))).own


@pytest.mark.parametrize(
    ("caller", "model"), [("caller:keys:eve", "llama3:latest"), ("caller:keys:bob", "phi3:latest")]
)
@pytest.mark.parametrize("fields", [{}, {"prompt_cache_key": "k"}, {"user": "u"}])
def test_no_call_matches_one_of_another_caller_or_model(caller: str, model: str, fields: Any) -> None:
    """Whatever its keys are made of."""
    mine = read(chat(FIRST_TURN, **fields))
    other = read(chat(FIRST_TURN, **fields), caller, model)
    assert not {*mine.keys, mine.own, mine.first} & {*other.keys, other.own, other.first}


def test_a_caller_and_a_model_cannot_be_shifted_into_each_other() -> None:
    """Their border is part of the digest."""
    assert read(chat(FIRST_TURN), "ab", "c").own != read(chat(FIRST_TURN), "a", "bc").own


def test_the_beginning_is_the_same_in_each_turn() -> None:
    """So that gateways that do not know the conversation choose alike."""
    turns = (FIRST_TURN, SECOND_TURN, [*SECOND_TURN, *said(60)])
    assert len({read(chat(turn)).first for turn in turns}) == 1
    assert read(chat([SYSTEM, MORE])).first != read(chat(FIRST_TURN)).first


def test_a_conversation_in_which_no_user_speaks_begins_with_its_first_message() -> None:
    """Some programs send the assistant's messages alone."""
    assert len({read(chat([SYSTEM, *[ANSWER] * count])).first for count in (0, 1, 40)}) == 1


def test_what_all_conversations_of_an_app_begin_with_is_no_key() -> None:
    """Else every new conversation would go where the last one went."""
    assert read(chat([SYSTEM])).own not in read(chat(FIRST_TURN)).keys


def test_messages_that_the_gateway_rewrites_are_known_again() -> None:
    """In each turn it rewrites them in the same way."""
    developer = {"role": "developer", "content": [{"type": "text", "text": "Be brief."}]}
    tool = {"role": "tool", "tool_call_id": "1", "content": [{"type": "text", "text": "4"}]}
    first = read(chat([developer, HELLO]))
    second = read(chat([developer, HELLO, ANSWER, tool, MORE]))
    assert first.own in second.keys
    assert first.first == second.first


def test_the_clients_own_name_for_a_conversation_is_its_only_key() -> None:
    """Whatever its messages are by now."""
    first, second = (read(chat(turn, prompt_cache_key="chat-7")) for turn in (FIRST_TURN, [MORE]))
    assert first == second == Conversation((first.own,), first.own, first.own)
    assert first.own != read(chat(FIRST_TURN, prompt_cache_key="chat-8")).own


def test_a_header_of_the_config_is_the_only_key() -> None:
    """Apps that know their conversations name them so; the body's own name comes before it."""
    header = ("x-openwebui-chat-id", b"7")
    first, second = (read(chat(turn), header=header) for turn in (FIRST_TURN, [MORE]))
    assert first == second
    assert first.own != read(chat(FIRST_TURN), header=("x-session", b"7")).own
    assert first.own != read(chat(FIRST_TURN, prompt_cache_key="7"), header=header).own
    assert read(chat(FIRST_TURN, prompt_cache_key="7")) == read(chat(FIRST_TURN, prompt_cache_key="7"), header=header)


@pytest.mark.parametrize("key", ["", None, 7, {"a": 1}, "k" * 2000])
def test_what_is_no_name_of_a_conversation_is_passed_over(key: Any) -> None:
    """Then its messages count."""
    assert read(chat(FIRST_TURN, prompt_cache_key=key)) == read(chat(FIRST_TURN))
    assert read(chat(FIRST_TURN), header=("x-session", b"k" * 2000)) == read(chat(FIRST_TURN))


def test_a_user_is_a_person_and_no_conversation() -> None:
    """People who begin alike begin at endpoints of their own; each conversation of a person is known by itself."""
    alone, ann, bob = read(chat(FIRST_TURN)), read(chat(FIRST_TURN, user="ann")), read(chat(FIRST_TURN, user="bob"))
    assert len({alone.first, ann.first, bob.first}) == 3
    assert ann.first == read(chat(SECOND_TURN, user="ann")).first
    assert ann.own not in read(chat([SYSTEM, MORE], user="ann")).keys


def test_a_text_that_goes_on_finds_where_it_was() -> None:
    """As editors send it: each call has more of the same text."""
    text = "def double(x): return 2 * x\n" * 400
    turns = [read(completion(text[:size])) for size in (STEP_BYTES + 10, 3 * STEP_BYTES, 8 * STEP_BYTES)]
    assert turns[0].own in turns[1].keys
    assert turns[1].own in turns[2].keys
    assert len({turn.first for turn in turns}) == 1
    assert turns[2].own not in turns[1].keys


@pytest.mark.parametrize("size", [STEP_BYTES - 1, STEP_BYTES, STEP_BYTES + 1, MOST_STEPS * STEP_BYTES])
def test_a_text_at_the_edge_of_a_step_is_part_of_the_longer_text(size: int) -> None:
    """Its closing quote is not."""
    before, after = read(completion("x" * size)), read(completion("x" * size + "y" * 3000))
    assert (before.own in after.keys) is (size >= STEP_BYTES)


def test_a_very_long_text_is_known_by_its_first_64_kib() -> None:
    """More is not read."""
    text = "x" * (MOST_STEPS * STEP_BYTES)
    assert read(completion(text + "a" * 5000)) == read(completion(text + "b" * 9000))


def test_a_short_text_is_known_when_it_is_sent_again() -> None:
    """All of it is one key."""
    assert read(completion("def f")) == read(completion("def f"))
    assert read(completion("def f")).own != read(completion("def g")).own


@pytest.mark.parametrize("row", OPERATIONS.values(), ids=OPERATIONS)
def test_a_call_of_each_operation_that_can_go_on_finds_itself(row: Operation) -> None:
    """Small or large, whatever the table says of its prompt."""
    small, big = read_call(row, row.example.request), large(row.name, row.example.request)
    found = finished(conversation_of(small, "bob", "m:latest"))
    assert finished(conversation_of(big, "bob", "m:latest")) == found
    assert (found is not None and found.own in found.keys) is (row.leading is not None)


def test_embeddings_are_no_conversation() -> None:
    """Ollama keeps nothing of them."""
    call = read_call(OPERATIONS["embeddings"], b'{"model":"m","input":"a","prompt_cache_key":"k"}')
    assert finished(conversation_of(call, "bob", "embed:latest", ("x-session", b"7"))) is None


LONG = 'words, "quotes" and \\ é🏔\n' * 4000
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "iVBO" * 50_000}}
DEVELOPER = {"role": "developer", "content": LONG, "name": "x"}


@pytest.mark.parametrize(
    "messages",
    [
        pytest.param([SYSTEM, {"role": "user", "content": LONG}, ANSWER, MORE], id="a long text"),
        pytest.param([SYSTEM, {"role": "user", "content": [IMAGE]}, ANSWER, MORE], id="an image"),
        pytest.param(said(3000), id="many messages"),
        pytest.param(said(300, "Go on. " * 200), id="long messages"),
        pytest.param([DEVELOPER, *said(3, LONG), DEVELOPER, *said(30)], id="long messages that are rewritten"),
        pytest.param(
            [{**DEVELOPER, "x": list(range(400))}, *said(30)], id="a long message that is rewritten, with a list"
        ),
        pytest.param([DEVELOPER, {"role": "user", "content": [IMAGE] * 3}] * 3, id="images among them"),
    ],
)
@pytest.mark.parametrize("fields", [{}, {"user": "ann"}, {"prompt_cache_key": "k"}])
def test_a_large_body_leads_to_the_digests_of_a_small_one(messages: list[Any], fields: Any) -> None:
    """A conversation grows from the one into the other."""
    body = json.dumps({"model": "m", "messages": messages, **fields}).encode()
    assert read(large("chat", body)) == read(read_call(OPERATIONS["chat"], body))


def test_a_large_text_leads_to_the_digests_of_a_small_one() -> None:
    """Here the text is read in pieces."""
    body = json.dumps({"model": "m", "prompt": LONG * 3}).encode()
    assert read(large("completions", body)) == read(read_call(OPERATIONS["completions"], body))


def test_of_a_long_message_its_beginning_and_its_length_count() -> None:
    """An image costs nothing."""
    texts = ("x" * MESSAGE_BYTES + end for end in ("a", "b", "aa"))
    one, same, longer = (read(chat([{"role": "user", "content": text}])).own for text in texts)
    assert one == same != longer


def test_no_step_of_a_large_body_reads_all_of_it() -> None:
    """Other requests go on between two steps."""
    body = json.dumps({"model": "m", "messages": said(3000, "Go on. " * 100)}).encode()
    assert sum(1 for _ in conversation_of(large("chat", body), "bob", "m:latest")) > len(body) // (32 << 10)


def test_digests_are_the_same_in_all_processes() -> None:
    """Gateways share them with each other, so a change here makes them forget during a roll-out."""
    assert read(chat(FIRST_TURN)).own.hex() == "efde154eda437bdc15a67bca1a682cea"
