{{/* Where Ollama is looked for, and what that needs. */}}

{{/* Whether the API server is asked at all: only then a token is mounted. */}}
{{- define "gateway.asksApi" -}}
{{- if or (include "gateway.discoversByApi" .) (eq .Values.config.watch "api") (include "gateway.reviewsTokens" .) (include "gateway.countsGateways" .) }}true{{ end }}
{{- end }}

{{- define "gateway.discoversByApi" -}}
{{- if has .Values.discovery.mode (list "pods" "endpointslices") }}true{{ end }}
{{- end }}

{{- define "gateway.labelSelector" -}}
{{- if .Values.discovery.labelSelector -}}
{{- .Values.discovery.labelSelector }}
{{- else if include "gateway.hasOllama" . -}}
app.kubernetes.io/name=ollama,app.kubernetes.io/instance={{ .Release.Name }}
{{- else -}}
app.kubernetes.io/name=ollama
{{- end }}
{{- end }}

{{/* The label selector as matchLabels. Services and NetworkPolicies know nothing else. */}}
{{- define "gateway.ollamaLabels" -}}
{{- range $term := splitList "," (include "gateway.labelSelector" .) }}
{{- $pair := splitList "=" ($term | replace "==" "=" | trim) }}
{{- if or (ne (len $pair) 2) (hasSuffix "!" (first $pair)) (contains " " $term) }}
{{- fail (printf "discovery.labelSelector: %q is no label=value, which headlessService and networkPolicy need" $term) }}
{{- end }}
{{ first $pair }}: {{ last $pair | quote }}
{{- end }}
{{- end }}

{{/* Namespaces with Ollama pods, as a JSON list. */}}
{{- define "gateway.ollamaNamespaces" -}}
{{- toJson (default (list (include "gateway.namespace" .)) .Values.discovery.namespaces) }}
{{- end }}

{{- define "gateway.ollamaService" -}}
{{- if .Values.discovery.serviceName -}}
{{- .Values.discovery.serviceName }}
{{- else if include "gateway.hasHeadless" . -}}
{{- include "gateway.headlessName" . }}
{{- else -}}
ollama
{{- end }}
{{- end }}

{{- define "gateway.hasHeadless" -}}
{{- if or .Values.headlessService.enabled (include "gateway.hasOllama" .) }}true{{ end }}
{{- end }}

{{/* The section `discovery` of config.yml; empty where the gateway's own defaults say the same. */}}
{{- define "gateway.discovery" -}}
{{- $discovery := .Values.discovery -}}
{{- if eq $discovery.mode "static" -}}
{{- toYaml (dict "static" $discovery.static) }}
{{- else if eq $discovery.mode "dns" -}}
{{- $name := include "gateway.ollamaService" . -}}
{{- if not (contains "." $name) }}{{ $name = printf "%s.%s.svc" $name (first (include "gateway.ollamaNamespaces" . | fromJsonArray)) }}{{ end -}}
{{- toYaml (dict "dns" (dict "name" $name "port" $discovery.port)) }}
{{- else -}}
{{- $found := dict -}}
{{- with $discovery.namespaces }}{{ $_ := set $found "namespaces" . }}{{ end -}}
{{- if ne $discovery.portName "http" }}{{ $_ := set $found "port_name" $discovery.portName }}{{ end -}}
{{- if ne (int $discovery.port) 11434 }}{{ $_ := set $found "port" $discovery.port }}{{ end -}}
{{- if eq $discovery.mode "endpointslices" -}}
{{- $found = merge (dict "mode" "endpointslices" "service" (include "gateway.ollamaService" .)) $found -}}
{{- else if ne (include "gateway.labelSelector" .) "app.kubernetes.io/name=ollama" -}}
{{- $_ := set $found "label_selector" (include "gateway.labelSelector" .) -}}
{{- end -}}
{{- if $found }}{{ toYaml (dict "kubernetes" $found) }}{{ end -}}
{{- end -}}
{{- end }}
