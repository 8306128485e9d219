// Pins where the CRDs come from that tests/helm judges the chart with; go.sum pins their content. Nothing is built.
module ai-gateway-ollama/tests/tools/crds

go 1.26.0

require (
	github.com/cert-manager/cert-manager v1.21.2
	github.com/kedacore/keda/v2 v2.21.0
	github.com/prometheus-operator/prometheus-operator v0.85.0
	sigs.k8s.io/gateway-api v1.6.3
)
