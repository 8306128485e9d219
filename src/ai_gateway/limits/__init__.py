"""Limits of callers, tenants and models: exact arithmetic, with counts in memory or in Redis."""
