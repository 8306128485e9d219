"""How far a model of the config is on its way to the endpoints, as gateways tell each other."""

from typing import Final, Literal, get_args

import msgspec

# pulling: no endpoint serves it yet. updating: another version serves meanwhile. failed: it does not go on by itself.
RolloutState = Literal["pulling", "updating", "done", "failed"]
STATES: Final[tuple[RolloutState, ...]] = get_args(RolloutState)


class Rollout(msgspec.Struct, frozen=True, omit_defaults=True):
    """Of one model: on how many of its endpoints it is in place, and on how many others the last step has failed.

    `progress` is of what is pulled now, from 0 to 1, and `seconds_left` of that, as far as it is known; `reason` is of
    the last failure that still stands in the way. `at` are the endpoints where it goes on now, by their authority.
    `is_waited_for`: calls wait for its load, since the one copy that was loaded has made room for it.
    """

    state: RolloutState
    done: int = 0
    total: int = 0
    progress: float | None = None
    seconds_left: float | None = None
    reason: str | None = None
    failed: int = 0
    at: tuple[str, ...] = ()
    is_waited_for: bool = False
