"""The gateway measured beside nginx (and LiteLLM on request) in one run: see bench/README.md."""
