{{/* Names and labels. */}}

{{- define "ai-gateway-ollama.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 52 | trimSuffix "-" }}
{{- end }}

{{/* 52 characters, so that suffixes fit into a name of 63. */}}
{{- define "ai-gateway-ollama.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $whole := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- default $whole .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- end }}

{{- define "ai-gateway-ollama.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride }}
{{- end }}

{{/* Name of the Ollama workload of the chart's own. */}}
{{- define "ai-gateway-ollama.ollamaName" -}}
{{- printf "%s-ollama" (include "ai-gateway-ollama.fullname" .) }}
{{- end }}

{{/* The headless Service over Ollama's pods. */}}
{{- define "ai-gateway-ollama.headlessName" -}}
{{- printf "%s-pods" (include "ai-gateway-ollama.fullname" .) }}
{{- end }}

{{- define "ai-gateway-ollama.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "ai-gateway-ollama.fullname" .) .Values.serviceAccount.name }}
{{- else -}}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "ai-gateway-ollama.isSidecar" -}}
{{- if eq .Values.placement "ollama-sidecar" }}true{{ end }}
{{- end }}

{{/* Whether the chart runs Ollama itself. */}}
{{- define "ai-gateway-ollama.hasOllama" -}}
{{- if or .Values.ollama.enabled (include "ai-gateway-ollama.isSidecar" .) }}true{{ end }}
{{- end }}

{{/* What does not change with a version: only these may stand in selectors. */}}
{{- define "ai-gateway-ollama.selectorLabels" -}}
{{- if include "ai-gateway-ollama.isSidecar" . -}}
{{ include "ai-gateway-ollama.ollamaSelectorLabels" . }}
{{- else -}}
app.kubernetes.io/name: {{ include "ai-gateway-ollama.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: gateway
{{- end }}
{{- end }}

{{/* The name label is that of the usual Ollama chart. */}}
{{- define "ai-gateway-ollama.ollamaSelectorLabels" -}}
app.kubernetes.io/name: ollama
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: {{ ternary "ollama-with-gateway" "ollama" (not (empty (include "ai-gateway-ollama.isSidecar" .))) }}
{{- end }}

{{/* Labels of an object that is no pod. */}}
{{- define "ai-gateway-ollama.labels" -}}
{{- $own := dict
  "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_")
  "app.kubernetes.io/name" (include "ai-gateway-ollama.name" .)
  "app.kubernetes.io/instance" .Release.Name
  "app.kubernetes.io/version" .Chart.AppVersion
  "app.kubernetes.io/managed-by" .Release.Service
  "app.kubernetes.io/part-of" .Chart.Name -}}
{{- toYaml (merge $own .Values.commonLabels) }}
{{- end }}

{{/* metadata of an object that belongs to no namespace. Call with (dict "root" $ "name" NAME). */}}
{{- define "ai-gateway-ollama.clusterMetadata" -}}
metadata:
  name: {{ .name }}
  labels:
    {{- include "ai-gateway-ollama.labels" .root | nindent 4 }}
  {{- with .root.Values.commonAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{/* metadata of an object. Call with (dict "root" $ "name" NAME), and "namespace", "labels", "annotations" as needed. */}}
{{- define "ai-gateway-ollama.metadata" -}}
{{- $root := .root -}}
{{- $annotations := merge (dict) (default (dict) .annotations) $root.Values.commonAnnotations -}}
metadata:
  name: {{ .name }}
  namespace: {{ default (include "ai-gateway-ollama.namespace" $root) .namespace }}
  labels:
    {{- toYaml (merge (include "ai-gateway-ollama.labels" $root | fromYaml) (default (dict) .labels)) | nindent 4 }}
  {{- with $annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
