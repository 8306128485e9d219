"""What an edit of the config costs the callers: gateways as processes over simulated endpoints."""
