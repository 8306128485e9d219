"""uvicorn made strict: the front door of the gateway.

    await serve(app, admin, settings, callbacks, around)      # returns after a clean end
    run(main())                                             # asyncio.run on uvloop

`settings` has addresses and times. `serve` calls `callbacks` on events. It enters `around` when the addresses are
bound and before it accepts anything, and leaves it after the last API connection is closed: background tasks live
there. Raises `ListenError` (one line for a person) if an address or certificate cannot be used.

Shutdown, on SIGTERM or `callbacks.shutdown.request()`: it calls `leaving()`; for `drain_seconds` it still accepts
everything, with `connection: close` on answers; then it closes the API listener and idle connections, and running
requests have `grace_seconds`; then it calls `shutdown_streams()` and they have one more second; then it cuts them.
A connection whose answer could not announce the close takes one more request (see FramingLimits). The admin port
stays open until `around` is left. SIGINT does the same in 5 seconds at most; a second signal cuts at once. After a
request before it listens, the server ends without serving.
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
