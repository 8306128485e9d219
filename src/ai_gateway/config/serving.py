"""The sections of config.yml about whoever connects: browsers, connections, TLS."""

from typing import Annotated

from msgspec import Meta

from ai_gateway.config.units import FilePath, Seconds, Section
from ai_gateway.config.units import default as _default


class Cors(Section, frozen=True):
    """Cross-origin calls from browsers; off while `origins` is empty."""

    origins: Annotated[
        tuple[str, ...],
        Meta(
            description="such as https://app.example; `http://localhost:*` is any port, `https://*.example.com` any "
            'name below it, `moz-extension://*` any extension, "*" everyone'
        ),
    ] = ()
    max_age: Annotated[Seconds, Meta(description="a browser may remember a preflight")] = _default(Seconds(600))


class Connections(Section, frozen=True):
    """Connections of clients, on both ports."""

    idle: Annotated[
        Seconds,
        Meta(
            description="that one is kept between two requests; longer than whoever stands in front keeps it, so that "
            "no request meets its end"
        ),
    ] = _default(Seconds(130))  # above the 60 s of most balancers, 90 s of Go's client, 120 s of Azure's


class Tls(Section, frozen=True):
    """HTTPS on the API port; both files are read again when they change. *restart* to turn it on or off."""

    certificate: FilePath
    key: FilePath
    client_ca: Annotated[
        FilePath | None,
        Meta(
            description="CA bundle in PEM; clients must show a certificate of it, and speak TLS 1.3. `none`: they need "
            "not"
        ),
    ] = None
