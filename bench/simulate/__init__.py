"""A discrete-event simulation that compares ways to balance calls over Ollama pods: `python -m bench.simulate`.

The pods are the product's own simulated Ollama (`ai_gateway.simulator.scheduler`), and the clock is an event queue.
"""
