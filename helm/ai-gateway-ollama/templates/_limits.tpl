{{/* What limits need beside their section of config.yml. */}}

{{/* Whether gateways count each other: for limits, and since with SQLite the audit of each knows only its own calls. */}}
{{- define "ai-gateway-ollama.countsGateways" -}}
{{- $config := include "ai-gateway-ollama.once" (list . "parsedConfig") | fromJson -}}
{{- $counts := or .Values.limits.countGateways $config.limits -}}
{{- $many := or (gt (int .Values.replicaCount) 1) .Values.autoscaling.enabled .Values.keda.enabled -}}
{{- if and $many (eq "sqlite" (dig "audit" "store" "sqlite" $config)) (include "ai-gateway-ollama.discoversByApi" .) .Values.rbac.create }}{{ $counts = true }}{{ end -}}
{{- range $config.callers }}{{ if .limits }}{{ $counts = true }}{{ end }}{{ end -}}
{{- if $counts }}true{{ end }}
{{- end }}

{{/* The environment of limits, as a JSON list. */}}
{{- define "ai-gateway-ollama.limitsEnv" -}}
{{- $env := list -}}
{{- if include "ai-gateway-ollama.countsGateways" . -}}
{{- /* Of the pod's own namespace. A name alone is what kustomize's prefixes reach. */ -}}
{{- $env = append $env (dict "name" "AI_GATEWAY_SERVICE" "value" (include "ai-gateway-ollama.fullname" .)) -}}
{{- end -}}
{{- toJson $env }}
{{- end }}

{{/* The port of Redis, empty where none is used. */}}
{{- define "ai-gateway-ollama.redisPort" -}}
{{- with ((include "ai-gateway-ollama.once" (list . "parsedConfig") | fromJson).limits).redis -}}
{{- $host := (urlParse .url).host -}}
{{- ternary (regexFind "[0-9]+$" $host) "6379" (regexMatch ":[0-9]+$" $host) -}}
{{- end -}}
{{- end }}
