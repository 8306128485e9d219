module ai-gateway-ollama/tests/cluster/pause

go 1.26.0
