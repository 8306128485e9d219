"""How the keys of an issuer of tokens are fetched. The code for it is imported where an issuer is configured."""

from typing import TYPE_CHECKING

from ai_gateway.config.access import Oidc
from ai_gateway.upstream.client import Client

if TYPE_CHECKING:
    from ai_gateway.auth.oidc import Fetch


def fetching(client: Client, oidc: Oidc) -> "Fetch":
    """Fetches documents of this issuer."""
    from ai_gateway.upstream.fetching import Fetching

    return Fetching(client, oidc.ca_file, oidc.token_file, oidc.issuer)
