"""Who calls: API keys, ServiceAccount tokens, tokens of an OpenID Connect issuer; and what the rules let them do."""
