"""Brings the endpoints to hold what config.yml says: which steps come next, and on which endpoint."""
