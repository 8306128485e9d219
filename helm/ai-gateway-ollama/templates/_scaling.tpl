{{/* The workload that is scaled: the Deployment, or with the sidecar placement Ollama's StatefulSet. */}}
{{- define "gateway.scaleTarget" -}}
apiVersion: apps/v1
{{- if include "gateway.isSidecar" . }}
kind: StatefulSet
name: {{ include "gateway.ollamaName" . }}
{{- else }}
kind: Deployment
name: {{ include "gateway.fullname" . }}
{{- end }}
{{- end }}
