"""How long what a round of decisions weighs would take, by what the gateway has learned of models."""

from typing import Final

from ai_gateway.balancing.demand import Need
from ai_gateway.balancing.learned import Learned

QUICK_SECONDS: Final = 10.0  # where a load takes less, a few times are shorter in proportion
USUAL_LOAD_SECONDS: Final = 15.0  # of a model that was never seen to load
USUAL_CALL_SECONDS: Final = 10.0


class Forecast:
    """Times in seconds for needs."""

    def __init__(self, learned: Learned) -> None:
        self._learned = learned

    def load_seconds(self, need: Need) -> float:
        """How long its load takes."""
        return self._learned.load_of(need.key[0], USUAL_LOAD_SECONDS)

    def wait_seconds(self, need: Need) -> float:
        """How long those that wait for it would wait for a slot."""
        return need.waiting * self._call_seconds(need) / max(1, need.slots)

    def pays(self, need: Need, share: float) -> bool:
        """Whether they would wait longer than a share of the load's time."""
        return self.wait_seconds(need) > share * self.load_seconds(need)

    def fullness(self, need: Need, slots: int) -> float:
        """The share of some slots that its calls of the last minutes would take."""
        return need.rate * self._call_seconds(need) / max(1, slots)

    def hurried(self, need: Need, seconds: float) -> float:
        """A time that is meant for usual loads, for one that may be quick: then it costs less to be wrong."""
        return seconds * min(1.0, self.load_seconds(need) / QUICK_SECONDS)

    def _call_seconds(self, need: Need) -> float:
        learned = [self._learned.call_seconds.get(pool.model) for pool in need.pools]
        return max((one for one in learned if one is not None), default=USUAL_CALL_SECONDS)
