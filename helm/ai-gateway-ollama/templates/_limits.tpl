{{/* What limits need beside their section of config.yml. */}}

{{/* The section `limits`, with the files that are mounted for Redis. */}}
{{- define "gateway.limits" -}}
{{- $limits := dict -}}
{{- if kindIs "map" .Values.config.limits }}{{ $limits = deepCopy .Values.config.limits }}{{ end -}}
{{- $redis := .Values.limits.redis -}}
{{- if and $limits.redis $redis.existingSecret -}}
{{- $_ := set $limits.redis "password_file" (printf "/etc/ai-gateway-redis/%s" $redis.passwordKey) -}}
{{- with $redis.caKey }}{{ $_ := set $limits.redis "ca_file" (printf "/etc/ai-gateway-redis/%s" .) }}{{ end -}}
{{- end -}}
{{- toYaml $limits }}
{{- end }}

{{/* Whether gateways count each other: for limits, and since with SQLite the audit of each knows only its own calls. */}}
{{- define "gateway.countsGateways" -}}
{{- $config := include "gateway.parsedConfig" . | fromJson -}}
{{- $counts := or .Values.limits.countGateways $config.limits -}}
{{- $many := or (gt (int .Values.replicaCount) 1) .Values.autoscaling.enabled .Values.keda.enabled -}}
{{- if and $many (eq "sqlite" (dig "audit" "store" "sqlite" $config)) (include "gateway.discoversByApi" .) .Values.rbac.create }}{{ $counts = true }}{{ end -}}
{{- range $config.callers }}{{ if .limits }}{{ $counts = true }}{{ end }}{{ end -}}
{{- if $counts }}true{{ end }}
{{- end }}

{{/* The environment of limits, as a JSON list. */}}
{{- define "gateway.limitsEnv" -}}
{{- $env := list -}}
{{- if include "gateway.countsGateways" . -}}
{{- $service := printf "%s/%s" (include "gateway.namespace" .) (include "gateway.fullname" .) -}}
{{- $env = append $env (dict "name" "AI_GATEWAY_SERVICE" "value" $service) -}}
{{- end -}}
{{- toJson $env }}
{{- end }}

{{/* The port of Redis, empty where none is used. */}}
{{- define "gateway.redisPort" -}}
{{- with ((include "gateway.parsedConfig" . | fromJson).limits).redis -}}
{{- $host := (urlParse .url).host -}}
{{- ternary (regexFind "[0-9]+$" $host) "6379" (regexMatch ":[0-9]+$" $host) -}}
{{- end -}}
{{- end }}
