"""The entries of a batch in their final form."""

import msgspec

from ai_gateway.audit.backlog import Backlog
from ai_gateway.audit.entry import AuditEntry
from ai_gateway.audit.settings import AuditSettings


def numbered(backlog: Backlog, first: int, settings: AuditSettings) -> list[AuditEntry]:
    """With the writer's name, numbers from `first`, and content as it may be kept. An end whose intent was never
    written closes none."""
    replace, redact, unwritten = msgspec.structs.replace, settings.redact, backlog.unwritten
    entries = []
    for sequence, queued in enumerate(backlog.batch, first):
        entry = replace(queued.entry, writer=settings.writer, sequence=sequence)
        if redact is not None and (entry.request_content or entry.answer_content):
            asked, answered = (text and redact(text) for text in (entry.request_content, entry.answer_content))
            entry = replace(entry, request_content=asked, answer_content=answered)
        if entry.kind == "end" and entry.intent in unwritten:
            entry = replace(entry, intent=None)
        entries.append(entry)
    return entries
