{{/* Where Ollama is looked for, and what that needs. */}}

{{- define "ai-gateway-ollama.discoversByApi" -}}
{{- if has .Values.discovery.mode (list "pods" "endpointslices") }}true{{ end }}
{{- end }}

{{- define "ai-gateway-ollama.labelSelector" -}}
{{- if .Values.discovery.labelSelector -}}
{{- .Values.discovery.labelSelector }}
{{- else if include "ai-gateway-ollama.hasOllama" . -}}
app.kubernetes.io/name=ollama,app.kubernetes.io/instance={{ .Release.Name }}
{{- else -}}
app.kubernetes.io/name=ollama
{{- end }}
{{- end }}

{{/* The label selector as matchLabels. Services and NetworkPolicies know nothing else. */}}
{{- define "ai-gateway-ollama.ollamaLabels" -}}
{{- range $term := splitList "," (include "ai-gateway-ollama.labelSelector" .) }}
{{- $pair := splitList "=" ($term | replace "==" "=" | trim) }}
{{- if or (ne (len $pair) 2) (hasSuffix "!" (first $pair)) (contains " " $term) }}
{{- fail (printf "discovery.labelSelector: %q is not label=value, but headlessService and networkPolicy need one" $term) }}
{{- end }}
{{ first $pair }}: {{ last $pair | quote }}
{{- end }}
{{- end }}

{{/* Namespaces with Ollama pods, as a JSON list. */}}
{{- define "ai-gateway-ollama.ollamaNamespaces" -}}
{{- toJson (default (list (include "ai-gateway-ollama.namespace" .)) .Values.discovery.namespaces | uniq) }}
{{- end }}

{{- define "ai-gateway-ollama.ollamaService" -}}
{{- if .Values.discovery.serviceName -}}
{{- .Values.discovery.serviceName }}
{{- else if include "ai-gateway-ollama.hasHeadless" . -}}
{{- include "ai-gateway-ollama.headlessName" . }}
{{- else -}}
ollama
{{- end }}
{{- end }}

{{- define "ai-gateway-ollama.hasHeadless" -}}
{{- if or .Values.headlessService.enabled (include "ai-gateway-ollama.hasOllama" .) }}true{{ end }}
{{- end }}

{{/* The section `discovery` of config.yml; empty where the gateway's own defaults say the same. */}}
{{- define "ai-gateway-ollama.discovery" -}}
{{- $discovery := .Values.discovery -}}
{{- if eq $discovery.mode "static" -}}
{{- toYaml (dict "static" $discovery.static) }}
{{- else if eq $discovery.mode "dns" -}}
{{- $name := include "ai-gateway-ollama.ollamaService" . -}}
{{- if not (contains "." $name) }}{{ $name = printf "%s.%s.svc" $name (first (include "ai-gateway-ollama.ollamaNamespaces" . | fromJsonArray)) }}{{ end -}}
{{- toYaml (dict "dns" (dict "name" $name "port" $discovery.port)) }}
{{- else -}}
{{- $found := dict -}}
{{- with $discovery.namespaces }}{{ $_ := set $found "namespaces" . }}{{ end -}}
{{- if ne $discovery.portName "http" }}{{ $_ := set $found "port_name" $discovery.portName }}{{ end -}}
{{- if ne (int $discovery.port) 11434 }}{{ $_ := set $found "port" $discovery.port }}{{ end -}}
{{- if eq $discovery.mode "endpointslices" -}}
{{- $found = merge (dict "mode" "endpointslices" "service" (include "ai-gateway-ollama.ollamaService" .)) $found -}}
{{- else if ne (include "ai-gateway-ollama.labelSelector" .) "app.kubernetes.io/name=ollama" -}}
{{- $_ := set $found "label_selector" (include "ai-gateway-ollama.labelSelector" .) -}}
{{- end -}}
{{- if $found }}{{ toYaml (dict "kubernetes" $found) }}{{ end -}}
{{- end -}}
{{- end }}
