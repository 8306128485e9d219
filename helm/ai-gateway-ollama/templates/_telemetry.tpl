{{/* Where spans and metrics go, as the variables that OpenTelemetry knows. */}}

{{- define "ai-gateway-ollama.exports" -}}
{{- if or .Values.tracing.enabled .Values.metrics.otlp.enabled }}true{{ end -}}
{{- end }}

{{- define "ai-gateway-ollama.metricsEndpoint" -}}
{{- default .Values.tracing.endpoint .Values.metrics.otlp.endpoint }}
{{- end }}

{{/* The URLs that are exported to, as a JSON list. */}}
{{- define "ai-gateway-ollama.collectors" -}}
{{- $urls := list -}}
{{- if .Values.tracing.enabled }}{{ $urls = append $urls .Values.tracing.endpoint }}{{ end -}}
{{- if .Values.metrics.otlp.enabled }}{{ $urls = append $urls (include "ai-gateway-ollama.metricsEndpoint" .) }}{{ end -}}
{{- toJson ($urls | uniq) }}
{{- end }}

{{/* Their ports, as a JSON list. */}}
{{- define "ai-gateway-ollama.collectorPorts" -}}
{{- $ports := list -}}
{{- range include "ai-gateway-ollama.collectors" . | fromJsonArray -}}
{{- $host := (urlParse .).host -}}
{{- $usual := ternary 443 80 (hasPrefix "https:" .) -}}
{{- $ports = append $ports (ternary (regexFind "[0-9]+$" $host | int) $usual (regexMatch ":[0-9]+$" $host)) -}}
{{- end -}}
{{- toJson ($ports | uniq) }}
{{- end }}

{{/* A variable from the pod's own object. Call with (list NAME PATH). */}}
{{- define "ai-gateway-ollama.fieldEnv" -}}
{{- $field := dict "fieldRef" (dict "apiVersion" "v1" "fieldPath" (index . 1)) -}}
{{- dict "name" (index . 0) "valueFrom" $field | toJson }}
{{- end }}

{{/* Attributes of the pod, comma-separated; what the values say goes last, and so before them. */}}
{{- define "ai-gateway-ollama.resourceAttributes" -}}
{{- $said := list
  "service.namespace=$(POD_NAMESPACE)" "service.instance.id=$(POD_UID)" "k8s.namespace.name=$(POD_NAMESPACE)"
  "k8s.pod.name=$(POD_NAME)" "k8s.pod.uid=$(POD_UID)" "k8s.node.name=$(NODE_NAME)" "k8s.container.name=gateway" -}}
{{- if not (include "ai-gateway-ollama.isSidecar" .) -}}
{{- $said = append $said (printf "k8s.deployment.name=%s" (include "ai-gateway-ollama.fullname" .)) -}}
{{- end -}}
{{- with .Values.tracing.clusterName }}{{ $said = append $said (printf "k8s.cluster.name=%s" .) }}{{ end -}}
{{- range $name, $value := .Values.tracing.resourceAttributes -}}
{{- $said = append $said (printf "%s=%s" $name ($value | toString | urlquery | replace "+" "%20")) -}}
{{- end -}}
{{- join "," $said }}
{{- end }}

{{/* The environment of exports, as a JSON list; a variable stands before those that name it. */}}
{{- define "ai-gateway-ollama.telemetryEnv" -}}
{{- $tracing := .Values.tracing -}}
{{- $env := list -}}
{{- if include "ai-gateway-ollama.exports" . -}}
{{- $env = list
  (include "ai-gateway-ollama.fieldEnv" (list "POD_NAME" "metadata.name") | fromJson)
  (include "ai-gateway-ollama.fieldEnv" (list "POD_NAMESPACE" "metadata.namespace") | fromJson)
  (include "ai-gateway-ollama.fieldEnv" (list "POD_UID" "metadata.uid") | fromJson)
  (include "ai-gateway-ollama.fieldEnv" (list "NODE_NAME" "spec.nodeName") | fromJson)
  (dict "name" "OTEL_SERVICE_NAME" "value" (include "ai-gateway-ollama.fullname" .))
  (dict "name" "OTEL_RESOURCE_ATTRIBUTES" "value" (include "ai-gateway-ollama.resourceAttributes" .)) -}}
{{- with $tracing.headersSecret.name -}}
{{- $key := dict "secretKeyRef" (dict "name" . "key" $tracing.headersSecret.key) -}}
{{- $env = append $env (dict "name" "OTEL_EXPORTER_OTLP_HEADERS" "valueFrom" $key) -}}
{{- end -}}
{{- $env = append $env (dict "name" "OTEL_EXPORTER_OTLP_PROTOCOL" "value" $tracing.protocol) -}}
{{- $env = append $env (dict "name" "OTEL_TRACES_EXPORTER" "value" (ternary "otlp" "none" $tracing.enabled)) -}}
{{- $env = append $env (dict "name" "OTEL_METRICS_EXPORTER" "value" (ternary "otlp" "none" .Values.metrics.otlp.enabled)) -}}
{{- end -}}
{{- if $tracing.enabled -}}
{{- $env = append $env (dict "name" "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" "value" (include "ai-gateway-ollama.signalUrl" (list . $tracing.endpoint "traces"))) -}}
{{- $named := dict "OTEL_TRACES_SAMPLER" $tracing.sampler "OTEL_TRACES_SAMPLER_ARG" $tracing.samplerArg -}}
{{- $_ := set $named "OTEL_PROPAGATORS" $tracing.propagators -}}
{{- $_ = set $named "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT" (ternary "true" "" $tracing.captureContent) -}}
{{- range $name, $value := $named -}}
{{- if $value }}{{ $env = append $env (dict "name" $name "value" $value) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- if .Values.metrics.otlp.enabled -}}
{{- $env = append $env (dict "name" "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT" "value" (include "ai-gateway-ollama.signalUrl" (list . (include "ai-gateway-ollama.metricsEndpoint" .) "metrics"))) -}}
{{- $env = append $env (dict "name" "OTEL_METRIC_EXPORT_INTERVAL" "value" (mul 1000 .Values.metrics.otlp.intervalSeconds | toString)) -}}
{{- end -}}
{{- toJson $env }}
{{- end }}

{{/* A signal's own endpoint, which is taken as it is: over HTTP with its path. Call with (list ROOT URL SIGNAL). */}}
{{- define "ai-gateway-ollama.signalUrl" -}}
{{- $root := index . 0 -}}
{{- $url := index . 1 | trimSuffix "/" -}}
{{- if eq $root.Values.tracing.protocol "grpc" }}{{ $url }}{{ else }}{{ $url }}/v1/{{ index . 2 }}{{ end -}}
{{- end }}
