"""The endpoint for a call, and why it was chosen."""

from typing import Literal, NamedTuple

from ai_gateway.balancing.endpoint import Endpoint

# Why an endpoint was chosen: docs/observability.md says what each word means.
Reason = Literal["only", "conversation", "prefix", "cheapest", "least_in_flight", "round_robin", "no_view", "waited"]


class Choice(NamedTuple):
    """The endpoint for a call, and why it was chosen, for clients, logs and traces.

    `name` is Ollama's name of the model there, "" where that is the model's own.
    """

    endpoint: Endpoint
    reason: Reason
    is_warm: bool  # the model is loaded there
    name: str = ""
