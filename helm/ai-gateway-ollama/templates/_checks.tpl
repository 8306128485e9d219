{{/* Combinations of values that cannot work. What is wrong with one value alone, values.schema.json says. */}}
{{- define "ai-gateway-ollama.checks" -}}
{{- $values := .Values -}}
{{- if and $values.autoscaling.enabled $values.keda.enabled -}}
{{- fail "autoscaling.enabled and keda.enabled: turn on one only, because both would scale the gateway" -}}
{{- end -}}
{{- if and (include "ai-gateway-ollama.isSidecar" .) (ne $values.discovery.mode "pods") -}}
{{- fail (printf "discovery.mode: it is %q; placement ollama-sidecar needs pods" $values.discovery.mode) -}}
{{- end -}}
{{- if and (include "ai-gateway-ollama.hasOllama" .) $values.discovery.namespaces -}}
{{- fail "discovery.namespaces: the chart's own Ollama runs in the gateway's namespace; leave it empty" -}}
{{- end -}}
{{- if and (eq $values.discovery.mode "static") (not $values.discovery.static) -}}
{{- fail "discovery.static: mode static needs at least one URL" -}}
{{- end -}}
{{- if and $values.networkPolicy.ollama.enabled (ne $values.discovery.mode "pods") -}}
{{- fail "networkPolicy.ollama.enabled: needs discovery.mode pods, whose labels it selects" -}}
{{- end -}}
{{- if and $values.tls.enabled (not $values.tls.existingSecret) (not $values.tls.certManager.enabled) -}}
{{- fail "tls.enabled: name a Secret in tls.existingSecret, or turn on tls.certManager.enabled" -}}
{{- end -}}
{{- if and $values.tls.clientCAKey (not $values.tls.enabled) -}}
{{- fail "tls.clientCAKey: set tls.enabled too" -}}
{{- end -}}
{{- if and $values.config.content $values.config.existingConfigMap -}}
{{- fail "config.content and config.existingConfigMap: set one only, because each is the whole file" -}}
{{- end -}}
{{- $config := include "ai-gateway-ollama.once" (list . "sections") | fromJson -}}
{{- $hasKeys := has "keys" (default list $config.auth.methods) -}}
{{- if and $hasKeys (not $config.auth.keys_file) -}}
{{- fail "auth.keysSecret.name: method keys needs a Secret with the file that `ai-gateway keys` writes" -}}
{{- end -}}
{{- if and $values.auth.keysSecret.name (not $hasKeys) (not $values.config.existingConfigMap) -}}
{{- fail "auth.keysSecret.name: add method keys to config.auth.methods; without it nothing reads this Secret" -}}
{{- end -}}
{{- if and $values.limits.redis.existingSecret (not (include "ai-gateway-ollama.part" (list $config "limits") | fromJson).redis) (not $values.config.existingConfigMap) -}}
{{- fail "limits.redis.existingSecret: set config.limits.redis; without it nothing reads this Secret" -}}
{{- end -}}
{{- if and $values.tls.certManager.enabled (not $values.tls.certManager.issuerRef.name) -}}
{{- fail "tls.certManager.issuerRef.name: name an issuer" -}}
{{- end -}}
{{- if and $values.httpRoute.enabled (not $values.httpRoute.parentRefs) -}}
{{- fail "httpRoute.parentRefs: name the Gateway that the route belongs to" -}}
{{- end -}}
{{- if and $values.httpRoute.backendTLSPolicy.enabled (not $values.tls.enabled) -}}
{{- fail "httpRoute.backendTLSPolicy.enabled: set tls.enabled too" -}}
{{- end -}}
{{- if and $values.tracing.enabled (not $values.tracing.endpoint) -}}
{{- fail "tracing.endpoint: say where spans go, such as http://otel-collector.monitoring:4318" -}}
{{- end -}}
{{- if and $values.metrics.otlp.enabled (not (include "ai-gateway-ollama.metricsEndpoint" .)) -}}
{{- fail "metrics.otlp.endpoint: say where metrics go, such as http://otel-collector.monitoring:4318" -}}
{{- end -}}
{{- if and $values.limits.redis.caKey (not $values.limits.redis.existingSecret) -}}
{{- fail "limits.redis.existingSecret: name the Secret that holds limits.redis.caKey" -}}
{{- end -}}
{{- if and (include "ai-gateway-ollama.hasPostgresql" .) (not $values.audit.key.existingSecret) -}}
{{- fail "audit.key.existingSecret: name a Secret, because gateways that share PostgreSQL need the same key of the hash chain" -}}
{{- end -}}
{{- if $values.audit.persistence.enabled -}}
{{- if gt (int $values.replicaCount) 1 -}}
{{- fail "audit.persistence.enabled: an SQLite file is for one gateway; set replicaCount to 1, or use PostgreSQL" -}}
{{- end -}}
{{- if or $values.autoscaling.enabled $values.keda.enabled (include "ai-gateway-ollama.isSidecar" .) -}}
{{- fail "audit.persistence.enabled: an SQLite file is for one gateway; turn off autoscaling, keda and sidecars" -}}
{{- end -}}
{{- end -}}
{{- include "ai-gateway-ollama.pairChecks" . -}}
{{- include "ai-gateway-ollama.podChecks" . -}}
{{- end }}
