"""Which runners one endpoint has loaded, and whether a call for a model would find its own there.

Ollama has one runner per GGUF blob, or per manifest digest where there is no blob. Names share it. `/api/ps` lists a
runner under the name that loaded it. A runner with another context length or other options to load than the name asks
for would be loaded anew by the call (server/sched.go, needsReload), so it is not resident for that name.
"""

from collections.abc import Mapping
from typing import Final

from ai_gateway.balancing.naming import Naming, Served
from ai_gateway.balancing.resident import HeldModel, Loaded, Resident, Weights

KEEP_SECONDS: Final = 10.0  # how long the last list counts when polls are late
KEEP_AT_LOAD_SECONDS: Final = 150.0  # the same while a load or unload of a gateway keeps Ollama from answering
DOUBT_SECONDS: Final = 3.0  # an HTTP date has whole seconds, and Ollama removes what has expired a moment later
LONGEST_CALL_SECONDS: Final = 1800.0  # an expiry longer past is no call: the endpoint's clock was set
SHORTEST_EXPIRY_SECONDS: Final = 60.0  # a runner that was used within it has not expired, where no clock is known
MOST_EXPECTATIONS: Final = 1000


class Residency:
    """The loaded runners of one endpoint by their keys. Changed by polls and by loads; moments are monotonic seconds.

    `loading` is the key of the runner whose load is under way: it is not resident yet, whatever `/api/ps` lists.
    `is_due` until the first poll has ended since the endpoint came or came back: its list will be there in a moment.
    """

    __slots__ = (
        "_by_name",
        "_expected",
        "_gone",
        "_keys",
        "_names",
        "_same",
        "_sharing",
        "_weights",
        "asked_at",
        "clock_ahead",
        "held",
        "is_due",
        "loaded",
        "loading",
        "served",
    )

    def __init__(self, weights: Mapping[str, Weights], naming: Naming | None = None) -> None:
        self._weights = weights
        self.served = Served(Naming() if naming is None else naming)
        self.held: dict[str, HeldModel] | None = None
        self.loaded: dict[str, Loaded] | None = None  # None: not known
        self.is_due = True
        self.asked_at: float | None = None  # when the list in `loaded` was asked for
        self.clock_ahead: float | None = None  # of the endpoint's Unix seconds before our monotonic ones
        self.loading: str | None = None
        self._keys: dict[str, str] = {}
        self._names: dict[str, list[str]] = {}  # on disk, by the digest of their manifest
        self._same: dict[str, set[str]] = {}  # names on disk by their key
        self._sharing: dict[str, set[str]] = self._same  # models that calls ask for, by the key of their runner
        self._by_name: dict[str, Loaded] = {}
        self._gone: set[str] = set()  # names that were loaded and not on the disk when that was last listed
        self._expected: dict[str, tuple[str, int]] = {}  # by name: its digest, and the context after our last load

    @property
    def names(self) -> frozenset[str] | None:
        """The names in `/api/ps`, None if they are not known."""
        return None if self.loaded is None else frozenset(one.entry.name for one in self.loaded.values())

    def digests(self) -> set[str]:
        """Of the manifests on disk, and of what is loaded under names that have another one by now."""
        return self._names.keys() | {one.entry.digest for one in (self.loaded or {}).values()}

    def knows(self, digest: str) -> bool:
        """Whether a digest is one of them."""
        return digest in self._names or any(one.entry.digest == digest for one in (self.loaded or {}).values())

    def sharers(self, model: str) -> set[str] | None:
        """The models whose calls share the runner of this one, with itself; None if no other does."""
        same = self._sharing.get(self.key_of(model))
        return same if same is not None and len(same) > 1 else None

    def is_called(self, key: str) -> bool:
        """Whether calls ask for a model whose runner this is."""
        sharing = self._sharing.get(key, ())
        return bool(self.served.called(sharing) if self.served.is_idle else sharing)

    def key_of(self, model: str) -> str:
        """The runner that a call for this model has here: its blob, else its manifest's digest, else the name."""
        name = self.served.names.get(model, model)
        key = self._keys.get(name)
        if key is None:  # not on the disk, as far as is known
            loaded = self._by_name.get(name)
            return name if loaded is None else loaded.key
        return key

    def name_for(self, model: str) -> str:
        """Ollama's name here of a model: itself, unless names are made for it."""
        return self.served.names.get(model, model)

    def find(self, model: str) -> Loaded | None:
        """The runner of a model with any context, if it is loaded."""
        if self.loaded is None:
            return None
        name = self.served.names.get(model, model)
        key = self._keys.get(name)
        return self._by_name.get(name) if key is None else self.loaded.get(key)

    def is_resident(self, model: str) -> bool:
        """Whether a call for this model would find its runner."""
        found = self.find(model)
        if found is None or found.key == self.loading:
            return False
        return self._fits(self.served.names.get(model, model), found.entry)

    def _fits(self, name: str, entry: Resident) -> bool:
        """Where the name asks for no context, and the one that loaded the runner did, the two need not be the same."""
        own, its = self.own(name), self._weights.get(entry.digest)
        if own is not None and its is not None and own.options != its.options:
            return False
        wanted, actual = self.wanted_context(name), entry.context_length
        if wanted is None:
            return (self.own(entry.name) or Weights()).num_ctx is None or not actual
        return not actual or actual == wanted

    def wanted_context(self, model: str) -> int | None:
        """The context length that a load for this name gives: seen after our last one, else what it asks for."""
        digest = self._digest(model)
        expected = self._expected.get(model)
        if expected is not None and expected[0] == digest:
            return expected[1]
        return (self.own(model) or Weights()).num_ctx

    def own(self, model: str) -> Weights | None:
        """What the name itself stands for; None if that is not known."""
        return self._weights.get(self._digest(model))

    def name_of(self, loaded: Loaded) -> str | None:
        """A name by which Ollama finds this runner: after a new pull, the one that loaded it may mean another.

        None if there is none: then nothing but Ollama itself can unload it.
        """
        name = loaded.entry.name
        if self.held is None or self._keys.get(name) == loaded.key:
            return name
        return min(self._same.get(loaded.key, ()), default=None)

    def digest_of(self, name: str) -> str | None:
        """Of a name's manifest; None for a name that is not on the disk."""
        held = (self.held or {}).get(name)
        return None if held is None else held.digest

    def _digest(self, model: str) -> str:
        held = (self.held or {}).get(self.served.names.get(model, model))
        return "" if held is None else held.digest

    # -- what is learned

    def saw_models(self, held: dict[str, HeldModel]) -> None:
        """Takes the models on disk."""
        self.held = held
        self._gone = {name for name in self._by_name if name not in held}
        self._keys, self._names, self._same = {}, {}, {}
        for name, one in held.items():
            self._names.setdefault(one.digest, []).append(name)
            self._put(name, one.digest)
        self._list_anew()

    @property
    def unlisted(self) -> list[str]:
        """Names that are loaded and not among those on the disk, which may have been listed too long ago."""
        held = self.held or {}
        return [name for name in self._by_name if name not in held and name not in self._gone]

    def follow_names(self) -> None:
        """The config makes other names than before."""
        self._serve()

    def _serve(self) -> None:
        """Finds anew which names stand for the models of the config."""
        if self.served.is_idle:
            self.served.know((), ())
            self.served.names, self._sharing = {}, self._same
            return
        self.served.know(self.held or (), self.unlisted)
        self.served.names = {}  # what follows asks for names, not for models
        self.served.choose(self.is_resident, self.digest_of)
        self._sharing = {key: self.served.called(names) for key, names in self._same.items()}
        for model in self.served.names:
            self._sharing.setdefault(self.key_of(model), set()).add(model)

    def learn(self, digest: str) -> None:
        """Finds the keys anew that depend on what has just been learned of a manifest."""
        for name in self._names.get(digest, ()):
            self._same[self._keys[name]].discard(name)
            self._put(name, digest)
        self._list_anew()

    def _put(self, name: str, digest: str) -> None:
        key = self._keys[name] = self._key(digest) or name
        self._same.setdefault(key, set()).add(name)

    def _list_anew(self) -> None:
        if self.loaded is not None:
            self._list(tuple(self.loaded.values()))
        else:
            self._serve()

    def _key(self, digest: str) -> str:
        weights = self._weights.get(digest)
        return digest if weights is None else weights.blob or digest

    def _key_loaded(self, entry: Resident) -> str:
        held = (self.held or {}).get(entry.name)
        if held is not None and not held.digest:
            return entry.name  # nothing but the name tells what is on the disk
        return self._key(entry.digest) or self.key_of(entry.name)

    def saw(self, residents: tuple[Resident, ...], asked_at: float, clock_ahead: float | None = None) -> bool:
        """Takes a list of `/api/ps`; True if calls may find other runners than before. Our loads that ended since stay.

        For `clock_ahead` see the field; None if it is not known.
        """
        before, self.clock_ahead = self.loaded, clock_ahead
        runners: dict[str, Loaded] = {}
        for entry in residents:
            one = self._seen(entry, asked_at)
            runners[one.key] = one
        for key, one in (before or {}).items():
            if one.confirmed_at > asked_at:
                runners[key] = one
        self.asked_at = asked_at
        self._list(tuple(runners.values()))
        return before is None or _shape(before) != _shape(self.loaded or {})

    def _seen(self, entry: Resident, asked_at: float) -> Loaded:
        key = self._key_loaded(entry)
        known = None if self.loaded is None else self.loaded.get(key)
        moved_at, confirmed_at = asked_at, 0.0
        if known is not None:
            confirmed_at = known.confirmed_at
            if known.entry.expires_at == entry.expires_at and not self._is_in_use(entry, asked_at):
                moved_at = known.moved_at
            if 0.0 < confirmed_at <= asked_at and known.entry.context_length is None and entry.context_length:
                self._expect(known.entry.name, entry.context_length)
        return Loaded(key, entry, moved_at, confirmed_at)

    def _is_in_use(self, entry: Resident, now: float) -> bool:
        """Whether a call runs there, of whomever: Ollama sets the expiry anew only when a runner becomes idle."""
        past_seconds = self._past_seconds(entry, now)
        return past_seconds is not None and DOUBT_SECONDS < past_seconds < LONGEST_CALL_SECONDS

    def was_due(self, loaded: Loaded, now: float) -> bool:
        """Whether a runner that is gone may have expired: nobody pushed it out then."""
        past_seconds = self._past_seconds(loaded.entry, now)
        if past_seconds is None:
            return now - loaded.moved_at > SHORTEST_EXPIRY_SECONDS
        return past_seconds > -DOUBT_SECONDS

    def _past_seconds(self, entry: Resident, now: float) -> float | None:
        """How long ago it expired; None if the endpoint's clock is not known."""
        if self.clock_ahead is None or entry.expires_at is None:
            return None
        return now + self.clock_ahead - entry.expires_at

    def _list(self, runners: tuple[Loaded, ...]) -> None:
        self.loaded, self._by_name = {}, {}
        for one in runners:
            one.key = self._key_loaded(one.entry)
            self.loaded[one.key] = one
            self._by_name[one.entry.name] = one
        self._serve()

    def _expect(self, model: str, context: int) -> None:
        if len(self._expected) >= MOST_EXPECTATIONS:
            self._expected.clear()
        self._expected[model] = (self._digest(model), context)

    def late(self, now: float, keep_seconds: float) -> None:
        """A list did not come in time: the last one counts a little longer."""
        if self.asked_at is None or now - self.asked_at >= keep_seconds:
            self.forget()

    def forget(self) -> None:
        """Nothing is known about the memory now."""
        self.loaded, self._by_name, self.asked_at = None, {}, None
        self._serve()

    def confirm(self, model: str, now: float) -> None:
        """Our load of this name has ended. Its context is learned from the next list."""
        key = self.key_of(model)
        entry = Resident(self.name_for(model), self._digest(model))
        runners = [one for one in (self.loaded or {}).values() if one.key != key]
        self._list((*runners, Loaded(key, entry, now, now)))
        if self.asked_at is None:
            self.asked_at = now


def _shape(loaded: dict[str, Loaded]) -> dict[str, tuple[str, int | None]]:
    """What calls can find of it."""
    return {key: (one.entry.name, one.entry.context_length) for key, one in loaded.items()}
