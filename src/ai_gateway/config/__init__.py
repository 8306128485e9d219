"""The types of config.yml (`types`), reading and checking a file (`loading`), and its JSON Schema (`schema`)."""
