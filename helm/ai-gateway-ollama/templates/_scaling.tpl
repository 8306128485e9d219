{{/* The workload that is scaled: the Deployment, or with the sidecar placement Ollama's StatefulSet. */}}
{{- define "ai-gateway-ollama.scaleTarget" -}}
apiVersion: apps/v1
{{- if include "ai-gateway-ollama.isSidecar" . }}
kind: StatefulSet
name: {{ include "ai-gateway-ollama.ollamaName" . | toYaml }}
{{- else }}
kind: Deployment
name: {{ include "ai-gateway-ollama.fullname" . | toYaml }}
{{- end }}
{{- end }}
