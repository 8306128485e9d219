"""Who is let in at present: the methods and rules of the config in force, and the file of keys that is followed."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from ai_gateway.auth.authenticator import Authenticator
from ai_gateway.auth.identity import Method
from ai_gateway.auth.keys import Keys, KeysFile
from ai_gateway.auth.kubernetes import Ask, ServiceAccounts
from ai_gateway.auth.oidc import Fetch, Issuer
from ai_gateway.config.access import Auth, CallerRule, Oidc, is_on

log = logging.getLogger("ai_gateway.auth")

LOOK_SECONDS: Final = 1.0  # a revoked key must fail within 5 s; polling works with every kind of mount


class Guard:
    """Changed by `apply`, with each new config, and by `follow`, which reads the file of keys anew.

    `review` asks the API server about a token, `fetching` makes what gets an issuer's documents.
    """

    def __init__(self, review: Ask, fetching: Callable[[Oidc], Fetch]) -> None:
        self._review = review
        self._fetching = fetching
        self._auth: Auth | None = None
        self._rules: tuple[CallerRule, ...] | None = None
        self._keys_file: KeysFile | None = None
        self.authenticator: Authenticator | None = None  # None: everyone is let in
        self.headers: tuple[bytes, ...] = ()  # that may hold a credential beside `Authorization`

    def apply(self, auth: Auth, rules: tuple[CallerRule, ...] | None) -> None:
        """Puts a config's methods and rules in force. Methods that stay as they were keep what they remember."""
        if (auth, rules) == (self._auth, self._rules):
            return
        if not is_on(auth):
            log.warning("auth: everyone who reaches the API is let in, as `anonymous` (auth.methods: none)")
            self.authenticator = self._keys_file = None
        elif auth == self._auth and self.authenticator is not None:
            self.authenticator = Authenticator(self.authenticator.methods, rules)
        else:
            self._keys_file = None
            methods: dict[str, Method] = {name: self._method(name, auth) for name in auth.methods}
            self.authenticator = Authenticator(methods, rules)
            log.info("auth: callers prove who they are by %s", ", ".join(auth.methods))
        self._auth, self._rules = auth, rules
        self.headers = tuple(name.encode() for name in auth.headers)

    def _method(self, name: str, auth: Auth) -> Method:
        if name == "kubernetes":
            return ServiceAccounts(self._review, auth.audience)
        if name == "oidc":
            assert auth.oidc is not None, "checked when the config was read"
            return Issuer(auth.oidc, self._fetching(auth.oidc))
        assert auth.keys_file is not None, "checked when the config was read"
        keys = Keys()
        self._keys_file = KeysFile(Path(auth.keys_file), keys)
        self._keys_file.take(_read(self._keys_file))  # the first requests must find them
        return keys

    async def follow(self) -> None:
        """Reads the file of keys anew, for ever."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            file = self._keys_file
            if file is None:
                continue
            content = await asyncio.to_thread(_read, file)
            if file is self._keys_file:
                file.take(content)

    def failing(self) -> Iterator[tuple[str, bool]]:
        """Each method that is on, and whether it has something to complain of."""
        if self.authenticator is not None:
            yield from ((name, method.complaint is not None) for name, method in self.authenticator.methods.items())

    def standing(self) -> dict[str, Any]:
        """For health: what each method has to complain of."""
        methods = {} if self.authenticator is None else self.authenticator.methods
        return {
            "methods": list(methods) or ["none"],
            "keys": next((method.count for method in methods.values() if isinstance(method, Keys)), None),
            "complaints": {name: method.complaint for name, method in methods.items() if method.complaint},
        }


def _read(file: KeysFile) -> bytes | OSError:
    try:
        return file.read()
    except OSError as error:
        return error
