"""uvicorn made strict: the front door of the gateway.

    await serve(app, admin, settings, notices, around)      # returns after a clean end
    run(main())                                             # asyncio.run on uvloop

`settings` says where and how long, `notices` are the callbacks by which the caller follows, `around` is entered once
the addresses are taken and before anything is accepted, and left after the last API connection is closed: background
tasks live there. Raises `ListenError` (one line for a person) if an address or certificate cannot be used.

Leaving, on SIGTERM or `notices.departure.ask()`: `leaving()` is called; for `drain_seconds` everything is still
accepted, with `connection: close` on answers; then the API listener and idle connections close and running requests
have `grace_seconds`; then `shutdown_streams()` is called and they have one second more; then connections are cut.
A connection that could not be told so takes one more request, within a moment (see Limits). The admin port stays open
until `around` has been left. SIGINT does the same in 5 seconds at most; a second signal cuts at once. Asked before it
listens, the server ends without serving anybody.
"""

from ai_gateway.server.certificate import CertificateFiles
from ai_gateway.server.listen import ListenError, split_address
from ai_gateway.server.run import ServerCallbacks, ServerSettings, Shutdown, run, serve
from ai_gateway.wire.framing import FramingLimits

__all__ = [
    "CertificateFiles",
    "FramingLimits",
    "ListenError",
    "ServerCallbacks",
    "ServerSettings",
    "Shutdown",
    "run",
    "serve",
    "split_address",
]
