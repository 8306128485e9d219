"""The audit: one entry for each request, chained so that changes show, kept in a store that can be asked."""
