{{/* Names and labels. */}}

{{- define "ai-gateway-ollama.name" -}}
{{- regexReplaceAll "[-.]+$" (default .Chart.Name .Values.nameOverride | trunc 52) "" }}
{{- end }}

{{/*
52 characters, so that suffixes fit into a name of 63. Without dots, which a release may have and a Service may not, and
without what the alias of an umbrella's dependency may have, such as `aiGateway` or `ai_gateway`.
*/}}
{{- define "ai-gateway-ollama.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $whole := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- $whole = default $whole .Values.fullnameOverride | lower | replace "." "-" | replace "_" "-" -}}
{{- regexReplaceAll "-+$" (trunc 52 $whole) "" }}
{{- end }}

{{/*
A name with a suffix, of `most` letters. One that is cut has a hash of the whole in it, so that cut names stay different.
Call with (dict "name" NAME "suffix" SUFFIX "most" NUMBER).
*/}}
{{- define "ai-gateway-ollama.fitted" -}}
{{- if le (add (len .name) (len .suffix)) (int64 .most) -}}
{{- printf "%s%s" .name .suffix }}
{{- else -}}
{{- include "ai-gateway-ollama.hashed" (merge (dict "whole" .name) .) }}
{{- end }}
{{- end }}

{{/* The same, with a hash of `whole` in it in any case. */}}
{{- define "ai-gateway-ollama.hashed" -}}
{{- $kept := trunc (sub (sub .most 9) (len .suffix) | int) .name -}}
{{- printf "%s-%s%s" (regexReplaceAll "-+$" $kept "") (sha256sum .whole | trunc 8) .suffix }}
{{- end }}

{{/*
Name of an object that gateways of several namespaces may have in one place: the gateway's namespace is in it where that
is not the place, and a hash, since `a-b` of `c` and `a` of `b-c` are two. Call with (dict "root" $ "suffix" SUFFIX
"namespace" NAMESPACE), the latter empty for what belongs to none.
*/}}
{{- define "ai-gateway-ollama.nameIn" -}}
{{- $name := include "ai-gateway-ollama.fullname" .root -}}
{{- $home := include "ai-gateway-ollama.namespace" .root -}}
{{- if eq .namespace $home -}}
{{- printf "%s%s" $name .suffix }}
{{- else -}}
{{- include "ai-gateway-ollama.hashed" (dict "name" (printf "%s-%s" $name $home) "whole" (printf "%s/%s" $home $name) "suffix" .suffix "most" 63) }}
{{- end }}
{{- end }}

{{- define "ai-gateway-ollama.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride }}
{{- end }}

{{/*
Name of the Ollama workload of the chart's own. Kubernetes makes the label `controller-revision-hash` of its pods from it,
a dash and 10 letters: with more than 52 no pod is made.
*/}}
{{- define "ai-gateway-ollama.ollamaName" -}}
{{- include "ai-gateway-ollama.fitted" (dict "name" (include "ai-gateway-ollama.fullname" .) "suffix" "-ollama" "most" 52) }}
{{- end }}

{{/* The headless Service over Ollama's pods: one name in all their namespaces, by which gateways look for it. */}}
{{- define "ai-gateway-ollama.headlessName" -}}
{{- $home := include "ai-gateway-ollama.namespace" . -}}
{{- $others := without (include "ai-gateway-ollama.ollamaNamespaces" . | fromJsonArray) $home -}}
{{- include "ai-gateway-ollama.nameIn" (dict "root" . "suffix" "-pods" "namespace" (first (append $others $home))) }}
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
app.kubernetes.io/name: {{ include "ai-gateway-ollama.name" . | toYaml }}
app.kubernetes.io/instance: {{ .Release.Name | toYaml }}
app.kubernetes.io/component: gateway
{{- end }}
{{- end }}

{{/* The name label is that of the usual Ollama chart. */}}
{{- define "ai-gateway-ollama.ollamaSelectorLabels" -}}
app.kubernetes.io/name: ollama
app.kubernetes.io/instance: {{ .Release.Name | toYaml }}
app.kubernetes.io/component: {{ ternary "ollama-with-gateway" "ollama" (not (empty (include "ai-gateway-ollama.isSidecar" .))) }}
{{- end }}

{{/* Labels of an object that is no pod. */}}
{{- define "ai-gateway-ollama.labels" -}}
{{- $own := dict
  "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-")
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
  name: {{ .name | toYaml }}
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
  name: {{ .name | toYaml }}
  namespace: {{ default (include "ai-gateway-ollama.namespace" $root) .namespace | toYaml }}
  labels:
    {{- toYaml (merge (include "ai-gateway-ollama.labels" $root | fromYaml) (default (dict) .labels)) | nindent 4 }}
  {{- with $annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
