"""An Ollama stand-in for demos, tests and load tests: it behaves, and misbehaves, like the real one."""

from ai_gateway.simulator.faults import Fault
from ai_gateway.simulator.registry import Content
from ai_gateway.simulator.settings import Settings
from ai_gateway.simulator.simulator import Simulator

__all__ = ["Content", "Fault", "Settings", "Simulator"]
