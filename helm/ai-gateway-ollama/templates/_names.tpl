{{/* Names and labels. */}}

{{- define "gateway.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 52 | trimSuffix "-" }}
{{- end }}

{{/* 52 characters, so that suffixes fit into a name of 63. */}}
{{- define "gateway.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $whole := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- default $whole .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- end }}

{{- define "gateway.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride }}
{{- end }}

{{/* Name of the Ollama workload of the chart's own. */}}
{{- define "gateway.ollamaName" -}}
{{- printf "%s-ollama" (include "gateway.fullname" .) }}
{{- end }}

{{/* The headless Service over Ollama's pods. */}}
{{- define "gateway.headlessName" -}}
{{- printf "%s-pods" (include "gateway.fullname" .) }}
{{- end }}

{{- define "gateway.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "gateway.fullname" .) .Values.serviceAccount.name }}
{{- else -}}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "gateway.isSidecar" -}}
{{- if eq .Values.placement "ollama-sidecar" }}true{{ end }}
{{- end }}

{{/* Whether the chart runs Ollama itself. */}}
{{- define "gateway.hasOllama" -}}
{{- if or .Values.ollama.enabled (include "gateway.isSidecar" .) }}true{{ end }}
{{- end }}

{{/* What does not change with a version: only these may stand in selectors. */}}
{{- define "gateway.selectorLabels" -}}
{{- if include "gateway.isSidecar" . -}}
{{ include "gateway.ollamaSelectorLabels" . }}
{{- else -}}
app.kubernetes.io/name: {{ include "gateway.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: gateway
{{- end }}
{{- end }}

{{/* The name label is that of the usual Ollama chart. */}}
{{- define "gateway.ollamaSelectorLabels" -}}
app.kubernetes.io/name: ollama
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: {{ ternary "ollama-with-gateway" "ollama" (not (empty (include "gateway.isSidecar" .))) }}
{{- end }}

{{/* Labels of an object that is no pod. */}}
{{- define "gateway.labels" -}}
{{- $own := dict
  "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_")
  "app.kubernetes.io/name" (include "gateway.name" .)
  "app.kubernetes.io/instance" .Release.Name
  "app.kubernetes.io/version" .Chart.AppVersion
  "app.kubernetes.io/managed-by" .Release.Service
  "app.kubernetes.io/part-of" .Chart.Name -}}
{{- toYaml (merge $own .Values.commonLabels) }}
{{- end }}

{{/* metadata of an object that belongs to no namespace. Call with (dict "root" $ "name" NAME). */}}
{{- define "gateway.clusterMetadata" -}}
metadata:
  name: {{ .name }}
  labels:
    {{- include "gateway.labels" .root | nindent 4 }}
  {{- with .root.Values.commonAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{/* metadata of an object. Call with (dict "root" $ "name" NAME), and "namespace", "labels", "annotations" as needed. */}}
{{- define "gateway.metadata" -}}
{{- $root := .root -}}
{{- $annotations := merge (dict) (default (dict) .annotations) $root.Values.commonAnnotations -}}
metadata:
  name: {{ .name }}
  namespace: {{ default (include "gateway.namespace" $root) .namespace }}
  labels:
    {{- toYaml (merge (include "gateway.labels" $root | fromYaml) (default (dict) .labels)) | nindent 4 }}
  {{- with $annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
