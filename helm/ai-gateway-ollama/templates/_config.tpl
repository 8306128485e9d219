{{/* The gateway's config.yml: what the values say, what the cluster holds, and which of both an upgrade takes. */}}

{{- define "ai-gateway-ollama.configMapName" -}}
{{- default (printf "%s-models" (include "ai-gateway-ollama.fullname" .)) .Values.config.existingConfigMap }}
{{- end }}

{{/* Sections of config.yml beside the models that the values set. */}}
{{- define "ai-gateway-ollama.sections" -}}
{{- $sections := dict -}}
{{- range $name := list "catalog" "timeouts" "balancing" "queue" "polling" "body" "cors" "hosts" "connections" "compatibility" "log" "trusted_proxies" -}}
{{- with index $.Values.config $name }}{{ $_ := set $sections $name . }}{{ end -}}
{{- end -}}
{{- /* What is off is written, too: a reload that only leaves it out is refused where it was on before. */ -}}
{{- $_ := set $sections "auth" (include "ai-gateway-ollama.auth" . | fromYaml) -}}
{{- $_ := set $sections "callers" (ternary .Values.config.callers "all" (kindIs "slice" .Values.config.callers)) -}}
{{- $_ := set $sections "limits" (default "none" (include "ai-gateway-ollama.limits" . | fromYaml)) -}}
{{- $_ := set $sections "audit" (merge (include "ai-gateway-ollama.auditConfig" . | fromYaml) (dict "mode" "best_effort")) -}}
{{- $_ := set $sections "tls" "none" -}}
{{- with include "ai-gateway-ollama.discovery" . | fromYaml }}{{ $_ := set $sections "discovery" . }}{{ end -}}
{{- if .Values.tls.enabled -}}
{{- $tls := dict "certificate" "/etc/ai-gateway-tls/tls.crt" "key" "/etc/ai-gateway-tls/tls.key" -}}
{{- with .Values.tls.clientCAKey }}{{ $_ := set $tls "client_ca" (printf "/etc/ai-gateway-tls/%s" .) }}{{ end -}}
{{- $_ := set $sections "tls" $tls -}}
{{- end -}}
{{- toYaml $sections }}
{{- end }}

{{/* config.yml as the values say it. */}}
{{- define "ai-gateway-ollama.chartConfig" -}}
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
{{- with include "ai-gateway-ollama.sections" . | fromYaml }}
{{ toYaml . }}
{{- end }}
{{- end }}
{{- end }}

{{/* What a config.yml means, as JSON: the words for off mean the same as no word at all. Call with its text. */}}
{{- define "ai-gateway-ollama.meaning" -}}
{{- $config := . | fromYaml -}}
{{- if eq (toJson $config.auth) "{\"methods\":[\"none\"]}" }}{{ $_ := unset $config "auth" }}{{ end -}}
{{- if eq (toString $config.callers) "all" }}{{ $_ := unset $config "callers" }}{{ end -}}
{{- if or (not $config.limits) (eq (toString $config.limits) "none") }}{{ $_ := unset $config "limits" }}{{ end -}}
{{- if eq (toString $config.tls) "none" }}{{ $_ := unset $config "tls" }}{{ end -}}
{{- if kindIs "map" $config.audit -}}
{{- if eq (toString $config.audit.mode) "best_effort" }}{{ $_ := unset $config.audit "mode" }}{{ end -}}
{{- if not $config.audit }}{{ $_ := unset $config "audit" }}{{ end -}}
{{- end -}}
{{- toJson $config }}
{{- end }}

{{/* config.yml as the values say it, read: as JSON, with nothing in place of what is off. */}}
{{- define "ai-gateway-ollama.parsedConfig" -}}
{{- include "ai-gateway-ollama.meaning" (include "ai-gateway-ollama.chartConfig" .) }}
{{- end }}

{{/* Sections that the file must have, parted by commas: those that somebody named, else those that the values turn on. */}}
{{- define "ai-gateway-ollama.required" -}}
{{- $names := list -}}
{{- if kindIs "slice" .Values.config.require -}}
{{- $names = .Values.config.require -}}
{{- else if not .Values.config.existingConfigMap -}}
{{- $config := include "ai-gateway-ollama.parsedConfig" . | fromJson -}}
{{- range list "auth" "callers" "limits" "audit" "tls" }}{{ if hasKey $config . }}{{ $names = append $names . }}{{ end }}{{ end -}}
{{- end -}}
{{- join "," $names }}
{{- end }}

{{/* A hash of what a config.yml means, whatever its comments and the order of its keys. Call with its text. */}}
{{- define "ai-gateway-ollama.configHash" -}}
{{- include "ai-gateway-ollama.meaning" . | sha256sum | trunc 16 }}
{{- end }}

{{- define "ai-gateway-ollama.hashAnnotation" -}}ai-gateway-ollama/values-hash{{- end }}

{{/*
What the ConfigMap shall hold, as JSON: `content`, `hash` (of what the values say), `replaced` (an edit that gives way,
kept beside it) and `outcome` for NOTES.

A person may have edited the live ConfigMap. The live text stays as long as the values say what they said at the last
release, which an annotation remembers as a hash, and where both mean the same: an edit owns its text, and Helm 4 would
refuse another one. Where nothing can be looked up (helm template, Argo CD, the first install) the values decide.
*/}}
{{- define "ai-gateway-ollama.config" -}}
{{- $key := .Values.config.key -}}
{{- $chart := include "ai-gateway-ollama.chartConfig" . -}}
{{- $hash := include "ai-gateway-ollama.configHash" $chart -}}
{{- $live := lookup "v1" "ConfigMap" (include "ai-gateway-ollama.namespace" .) (include "ai-gateway-ollama.configMapName" .) -}}
{{- $held := dig "data" $key "" $live -}}
{{- $replaced := dig "data" (printf "%s.replaced" $key) "" $live -}}
{{- $remembered := dig "metadata" "annotations" (include "ai-gateway-ollama.hashAnnotation" .) "" $live -}}
{{- $result := dict "content" (printf "%s\n" $chart) "hash" $hash "replaced" $replaced "outcome" "values" -}}
{{- if $held -}}
{{- $meaning := include "ai-gateway-ollama.configHash" $held -}}
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
