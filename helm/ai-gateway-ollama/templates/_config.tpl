{{/* The gateway's config.yml: what the values say, what the cluster holds, and which of both an upgrade takes. */}}

{{- define "gateway.configMapName" -}}
{{- default (printf "%s-models" (include "gateway.fullname" .)) .Values.config.existingConfigMap }}
{{- end }}

{{/* Sections of config.yml beside the models that the values set. */}}
{{- define "gateway.sections" -}}
{{- $sections := dict -}}
{{- range $name := list "catalog" "timeouts" "balancing" "queue" "polling" "body" "cors" "hosts" "connections" "compatibility" "log" "trusted_proxies" -}}
{{- with index $.Values.config $name }}{{ $_ := set $sections $name . }}{{ end -}}
{{- end -}}
{{- with include "gateway.auth" . | fromYaml }}{{ $_ := set $sections "auth" . }}{{ end -}}
{{- if kindIs "slice" .Values.config.callers }}{{ $_ := set $sections "callers" .Values.config.callers }}{{ end -}}
{{- with include "gateway.limits" . | fromYaml }}{{ $_ := set $sections "limits" . }}{{ end -}}
{{- with include "gateway.auditConfig" . | fromYaml }}{{ $_ := set $sections "audit" . }}{{ end -}}
{{- with include "gateway.discovery" . | fromYaml }}{{ $_ := set $sections "discovery" . }}{{ end -}}
{{- if .Values.tls.enabled -}}
{{- $tls := dict "certificate" "/etc/ai-gateway-tls/tls.crt" "key" "/etc/ai-gateway-tls/tls.key" -}}
{{- with .Values.tls.clientCAKey }}{{ $_ := set $tls "client_ca" (printf "/etc/ai-gateway-tls/%s" .) }}{{ end -}}
{{- $_ := set $sections "tls" $tls -}}
{{- end -}}
{{- toYaml $sections }}
{{- end }}

{{/* config.yml as the values say it. */}}
{{- define "gateway.chartConfig" -}}
{{- $config := .Values.config -}}
{{- if $config.content -}}
{{- $config.content | trimSuffix "\n" }}
{{- else -}}
{{- if $config.models -}}
# Every key: docs/configuration.md of the gateway. A change takes effect at once; a mistake keeps the last good one.
models:
  {{- toYaml $config.models | nindent 2 }}
{{- else -}}
{{- .Files.Get "files/config.yml" | trimSuffix "\n" }}
{{- end }}
{{- with include "gateway.sections" . | fromYaml }}
{{ toYaml . }}
{{- end }}
{{- end }}
{{- end }}

{{/* A hash of what a config.yml means, whatever its comments and the order of its keys. Call with its text. */}}
{{- define "gateway.configHash" -}}
{{- . | fromYaml | toJson | sha256sum | trunc 16 }}
{{- end }}

{{- define "gateway.hashAnnotation" -}}ai-gateway-ollama/values-hash{{- end }}

{{/*
What the ConfigMap shall hold, as JSON: `content`, `hash` (of what the values say), `replaced` (an edit that gives way,
kept beside it) and `outcome` for NOTES.

A person may have edited the live ConfigMap. The live text stays as long as the values say what they said at the last
release, which an annotation remembers as a hash, and where both mean the same: an edit owns its text, and Helm 4 would
refuse another one. Where nothing can be looked up (helm template, Argo CD, the first install) the values decide.
*/}}
{{- define "gateway.config" -}}
{{- $key := .Values.config.key -}}
{{- $chart := include "gateway.chartConfig" . -}}
{{- $hash := include "gateway.configHash" $chart -}}
{{- $live := lookup "v1" "ConfigMap" (include "gateway.namespace" .) (include "gateway.configMapName" .) -}}
{{- $held := dig "data" $key "" $live -}}
{{- $replaced := dig "data" (printf "%s.replaced" $key) "" $live -}}
{{- $remembered := dig "metadata" "annotations" (include "gateway.hashAnnotation" .) "" $live -}}
{{- $result := dict "content" (printf "%s\n" $chart) "hash" $hash "replaced" $replaced "outcome" "values" -}}
{{- if $held -}}
{{- $meaning := include "gateway.configHash" $held -}}
{{- if and $remembered (ne $remembered $hash) (ne $meaning $hash) -}}
{{- if ne $meaning $remembered -}}
{{- $_ := set $result "outcome" "replaced" -}}
{{- $_ := set $result "replaced" $held -}}
{{- end -}}
{{- else -}}
{{- $_ := set $result "content" $held -}}
{{- if not $remembered -}}
{{- $_ := set $result "outcome" "unknown" -}}
{{- else if ne $meaning $hash -}}
{{- $_ := set $result "outcome" "kept" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $result }}
{{- end }}
