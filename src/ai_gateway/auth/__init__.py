"""Identifies callers by API key, ServiceAccount token or OIDC token, and applies the rules of `callers`."""
