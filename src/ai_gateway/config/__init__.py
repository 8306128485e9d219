"""The types of config.yml (`types`), its reader and checks (`loading`), and its JSON Schema (`schema`)."""
