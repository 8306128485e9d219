"""The prompt cache in the slots of a runner.

Source: llama-server's get_available_slot: of the idle slots the one with the longest common prefix, if that covers
more than a tenth of the new prompt, else the least recently used one. Nothing is shared between slots.
"""

from dataclasses import dataclass

MIN_SIMILARITY = 0.1


@dataclass(slots=True, eq=False)
class Slot:
    """One slot of a runner. Only the scheduler changes it."""

    text: str = ""  # its last prompt with the answer
    used_at: float = 0.0
    is_busy: bool = False


def common_prefix(left: str, right: str) -> int:
    """How many characters two texts have in common from the start."""
    low, high = 0, min(len(left), len(right))
    while low < high:
        middle = (low + high + 1) // 2
        if left[low:middle] == right[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def choose_slot(slots: list[Slot], prompt: str) -> tuple[Slot, int] | None:
    """The idle slot for a prompt, and how many of the prompt's characters it has cached."""
    idle = [slot for slot in slots if not slot.is_busy]
    if not idle:
        return None
    slot = max(idle, key=lambda one: common_prefix(one.text, prompt))
    cached = common_prefix(slot.text, prompt)
    if cached > MIN_SIMILARITY * len(prompt):
        return slot, cached
    slot = min(idle, key=lambda one: one.used_at)
    return slot, common_prefix(slot.text, prompt)
