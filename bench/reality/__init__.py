"""The policies over real processes: a few calls on three real Ollamas, and the simulation's trace on simulated ones."""
