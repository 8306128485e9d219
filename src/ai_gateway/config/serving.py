"""The sections of config.yml about connections: CORS, idle times, TLS."""

from typing import Annotated

from msgspec import Meta

from ai_gateway.config.units import FilePath, Seconds, Section
from ai_gateway.config.units import default as _default


class Cors(Section, frozen=True):
    """Calls from web pages of other origins; off while `origins` is empty."""

    origins: Annotated[
        tuple[str, ...],
        Meta(
            description="such as https://app.example; `http://localhost:*` allows any port, `https://*.example.com` "
            'any name below it, `moz-extension://*` any extension, "*" every origin'
        ),
    ] = ()
    max_age: Annotated[Seconds, Meta(description="how long a browser may remember a preflight")] = _default(
        Seconds(600)
    )


class Connections(Section, frozen=True):
    """Connections of clients, on both ports."""

    idle: Annotated[
        Seconds,
        Meta(
            description="how long an idle connection stays open. Set it longer than the proxy in front keeps its own, "
            "so that no request meets a closing connection"
        ),
    ] = _default(Seconds(130))  # above the 60 s of most balancers, 90 s of Go's client, 120 s of Azure's


class Tls(Section, frozen=True):
    """HTTPS on the API port. The gateway reads both files again when they change. *restart* to turn it on or off."""

    certificate: FilePath
    key: FilePath
    client_ca: Annotated[
        FilePath | None,
        Meta(
            description="CA bundle in PEM. Clients must then show a certificate of that CA and speak TLS 1.3. `none`: "
            "they need no certificate"
        ),
    ] = None
