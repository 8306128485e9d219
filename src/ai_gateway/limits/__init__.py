"""How much callers, tenants and models may ask for: exact arithmetic, and the counts in memory or in Redis."""
