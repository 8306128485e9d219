"""The tools of a chat and `tool_choice`. The gateway can send only the chosen tools; it cannot force a call."""

from typing import Final

import msgspec

from ai_gateway.wire.fields import (
    MAX_SHORT_BYTES,
    AnyObject,
    check_numbers,
    given,
    refuse,
    refuse_many,
    refuse_shape,
    runs,
)
from ai_gateway.wire.json_guard import Fields

MAX_TOOLS: Final = 1024  # of one call: they are all checked in one step, and others wait that long


class _Parameters(msgspec.Struct, frozen=True, gc=False):
    type: str | None = None
    properties: AnyObject | None = None


class _Function(msgspec.Struct, frozen=True, gc=False):
    name: str
    description: str | None = None
    parameters: _Parameters | None = None


class _Tool(msgspec.Struct, frozen=True, gc=False):
    type: str | None = None
    function: _Function | None = None


class _Named(msgspec.Struct, frozen=True, gc=False):
    name: str | None = None


class _OneTool(msgspec.Struct, frozen=True, gc=False):
    """`{"type": "function", "function": {"name": ...}}`; the Responses API, and Anthropic's with the type `tool`, write
    the name beside the type."""

    type: str | None = None
    function: _Named | None = None
    name: str | None = None

    @property
    def function_name(self) -> str | None:
        return self.name if self.function is None else self.function.name


class _Allowed(msgspec.Struct, frozen=True, gc=False):
    mode: str
    tools: list[_OneTool]


class _Choice(_OneTool, frozen=True, gc=False):
    allowed_tools: _Allowed | None = None


# Whether the model must call a tool; Anthropic and Mistral call that `any`.
_MODES: Final = {"": False, "auto": False, "none": False, "required": True, "any": True}

_tools: Final = msgspec.json.Decoder(list[_Tool])
_decode_items = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_choice = msgspec.json.Decoder(_Choice | str).decode
_encode = msgspec.json.Encoder().encode


def check_tools(fields: Fields, key: str) -> bool:
    """Raises InvalidRequest for tools that Ollama cannot call or read. Returns False: Ollama ignores nothing."""
    _names(bytes(fields[key]), key)
    return False


def choose_tools(fields: Fields, key: str) -> bool:
    """Honours `tool_choice` as far as possible, by sending only the chosen tools. Returns whether something is lost.

    Raises InvalidRequest for a choice that is invalid or names a tool that is not in `tools`.
    """
    text = given(fields, key)
    if text is None:
        return False
    del fields[key]
    if len(text) > MAX_SHORT_BYTES:
        refuse(key, f"`{key}` is longer than {MAX_SHORT_BYTES} bytes.")
    try:
        choice = _decode_choice(text)
    except msgspec.ValidationError as error:
        refuse_shape(error, key)
    if isinstance(choice, str):
        choice = _Choice(choice) if choice.lower() in _MODES else _Choice("function", name=choice)
    return _choose(fields, key, choice)


def _choose(fields: Fields, key: str, choice: _Choice) -> bool:
    kind = (choice.type or "").lower()
    if kind in _MODES and choice.function_name is None:
        if kind == "none":
            fields.pop("tools", None)
        return _MODES[kind]
    if kind == "allowed_tools" and choice.allowed_tools is not None:
        _keep(fields, key, {tool.function_name for tool in choice.allowed_tools.tools})
        return bool(choice.allowed_tools.mode == "required")
    if kind not in ("", "function", "tool"):
        refuse(f"{key}.type", f"`{key}.type` must be function or allowed_tools.")
    _keep(fields, key, {choice.function_name})
    return True


def _keep(fields: Fields, key: str, wanted: set[str | None]) -> None:
    """Keeps only the tools with these names."""
    text = given(fields, "tools") or b"[]"
    named = _names(text, "tools")
    for name in wanted:
        if name not in named:
            refuse(key, f"`{key}` names {(name or '')[:64]!r}; it must be auto, none, required or one of `tools`.")
    kept: list[msgspec.Raw] = []
    for run in runs(text, _tools):
        items = _decode_items(run.text)
        kept += [
            item
            for item, tool in zip(items, run.items, strict=True)
            if tool.function is not None and tool.function.name in wanted
        ]
    fields["tools"] = msgspec.Raw(_encode(kept))


def _names(text: bytes, key: str) -> set[str]:
    names: set[str] = set()
    count = 0
    try:
        for run in runs(text, _tools):
            refuse_many(count + len(run.items), MAX_TOOLS, "tools", key)
            check_numbers(run.text, key)
            for tool in run.items:
                names.add(_name(tool, f"{key}[{count}]"))
                count += 1
    except msgspec.ValidationError as error:
        refuse_shape(error, key, count)
    return names


def _name(tool: _Tool, path: str) -> str:
    if tool.type not in (None, "", "function"):
        refuse(f"{path}.type", f"`{path}.type` is {tool.type[:64]!r}: Ollama supports only tools of type function.")
    if tool.function is None or not tool.function.name:
        missing = f"{path}.function" if tool.function is None else f"{path}.function.name"
        refuse(missing, f"`{missing}` is missing.", "missing_value")
    return tool.function.name
