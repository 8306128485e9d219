{{/* Paragraphs of NOTES. */}}

{{/* The file that is in force after this release, as JSON: an edit that stays counts. */}}
{{- define "ai-gateway-ollama.fileInForce" -}}
{{- if .Values.config.existingConfigMap -}}
{{- include "ai-gateway-ollama.once" (list . "parsedConfig") }}
{{- else -}}
{{- include "ai-gateway-ollama.meaning" (include "ai-gateway-ollama.once" (list . "config") | fromJson).content }}
{{- end -}}
{{- end }}

{{/* Lines that ask the gateway from a person's machine. */}}
{{- define "ai-gateway-ollama.tryIt" -}}
{{- $file := include "ai-gateway-ollama.fileInForce" . | fromJson -}}
{{- $auth := include "ai-gateway-ollama.part" (list $file "auth") | fromJson -}}
{{- $tls := include "ai-gateway-ollama.part" (list $file "tls") | fromJson -}}
{{- $methods := without (ternary $auth.methods list (kindIs "slice" $auth.methods)) "none" -}}
{{- $curl := "curl" -}}
{{- if $tls }}{{ $curl = "curl --insecure" }}{{ end -}}
{{- if $tls.client_ca }}{{ $curl = printf "%s --cert client.crt --key client.key" $curl }}{{ end -}}
{{- if $methods }}{{ $curl = printf "%s -H \"authorization: Bearer $AI_GATEWAY_KEY\"" $curl }}{{ end -}}
{{- $url := printf "%s://localhost:8080/v1" (ternary "https" "http" (not (empty $tls))) -}}
{{- $chats := list -}}
{{- range $id := keys (include "ai-gateway-ollama.part" (list $file "models") | fromJson) | sortAlpha }}{{ if not (contains "embed" $id) }}{{ $chats = append $chats $id }}{{ end }}{{ end -}}
{{- $body := printf `{"model": %s, "messages": [{"role": "user", "content": "Hello"}]}` (first (append $chats "MODEL") | toJson) | replace "'" "'\\''" -}}
To try it from your machine, in two terminals:

  kubectl port-forward -n {{ include "ai-gateway-ollama.namespace" . }} service/{{ include "ai-gateway-ollama.fullname" . }} 8080:{{ .Values.service.port }}
{{ if has "kubernetes" $methods }}
  AI_GATEWAY_KEY=$(kubectl create token -n {{ include "ai-gateway-ollama.namespace" . }} default --audience={{ default "ai-gateway-ollama" $auth.audience }})
{{- else if $methods }}
  AI_GATEWAY_KEY=...   # {{ ternary "a key that `ai-gateway keys` made" "a token of your issuer" (has "keys" $methods) }}
{{- end }}
  {{ $curl }} {{ $url }}/models
  {{ $curl }} {{ $url }}/chat/completions -H 'content-type: application/json' -d '{{ $body }}'
{{- if not $chats }}
  # replace MODEL with a model from the list above
{{- end }}
{{- if $tls }}
  # you need --insecure, because the certificate is for the Service's name and not for localhost
{{- end }}
{{- if and .Values.config.existingConfigMap (not $methods) }}
  # add -H "authorization: Bearer KEY" if your ConfigMap asks for a key
{{- end }}
{{- end }}

{{/* Which models are served. */}}
{{- define "ai-gateway-ollama.servedModels" -}}
{{- $file := include "ai-gateway-ollama.fileInForce" . | fromJson -}}
{{- $ids := keys (include "ai-gateway-ollama.part" (list $file "models") | fromJson) | sortAlpha -}}
{{- $named := join ", " (slice $ids 0 (min 10 (len $ids) | int)) -}}
{{- if gt (len $ids) 10 }}{{ $named = printf "%s and %d more" $named (sub (len $ids) 10) }}{{ end -}}
{{- $discovers := (include "ai-gateway-ollama.part" (list $file "catalog") | fromJson).discover -}}
{{- if and $ids $discovers -}}
Served: {{ $named }}, and every other model that an Ollama holds (catalog.discover). The others have no limits of their own.
{{- else if $ids -}}
Served: {{ $named }}; no other model. To serve all that an Ollama holds, set `catalog: {discover: true}`.
{{- else if $discovers -}}
Served: every model that an Ollama holds, because you name no model (catalog.discover). Once you name one, the gateway
serves only the models that you name. Each can have its own settings and limits. To name one:
  --set config.models.llama3.version=latest
{{- else -}}
NOTHING IS SERVED: you name no model, and catalog.discover is off. To name one:
  --set config.models.llama3.version=latest
{{- end -}}
{{- end }}

{{/* What the chart's own Ollama gets, and how it gets a model. */}}
{{- define "ai-gateway-ollama.pulledModels" -}}
{{- if include "ai-gateway-ollama.hasOllama" . -}}
{{- $models := include "ai-gateway-ollama.ollamaModels" . | fromJsonArray -}}
{{- if and (include "ai-gateway-ollama.gatewayPulls" .) (not .Values.ollama.pull.models) -}}
The chart's Ollama starts without a model, and the gateway pulls those that you name. This line adds one:

  helm upgrade {{ .Release.Name }} CHART -n {{ .Release.Namespace }} --reset-then-reuse-values --set config.models.llama3.version=latest
{{- else if and $models .Values.ollama.pull.enabled -}}
Pulled before Ollama starts: {{ join ", " $models }}
{{- else if .Values.ollama.pull.enabled -}}
NOTHING IS PULLED: you name no model, so the chart's Ollama starts without one. This line adds one:
  helm upgrade {{ .Release.Name }} CHART -n {{ .Release.Namespace }} --reset-then-reuse-values --set config.models.llama3.version=latest
{{- else -}}
NOTHING IS PULLED into the chart's Ollama (ollama.pull.enabled). This line adds a model to one pod:
  kubectl exec -n {{ include "ai-gateway-ollama.namespace" . }} {{ include "ai-gateway-ollama.ollamaName" . }}-0 -c ollama -- ollama pull llama3
{{- end -}}
{{- end -}}
{{- end }}

{{/* What a ConfigMap of one's own must say for these values to mean something. */}}
{{- define "ai-gateway-ollama.ownConfigMap" -}}
The ConfigMap is your own: this release never writes it.
{{- with include "ai-gateway-ollama.once" (list . "parsedConfig") | fromJson }} Your values turn on what follows. Write it into the ConfigMap too:

{{ toYaml . | indent 2 }}
{{- end }}
{{ with include "ai-gateway-ollama.required" . }}
No gateway becomes ready until it has the sections {{ . | replace "," ", " }} (config.require).
{{- else }}
A gateway that starts with a file without `auth` lets everyone in. Set `--set config.require={auth}` to make it wait
until the file has that section.
{{- end }}
{{- end }}

{{/* What of `config.content` other values decide. */}}
{{- define "ai-gateway-ollama.besideContent" -}}
{{- $content := include "ai-gateway-ollama.once" (list . "contentSections") | fromJson -}}
{{- range $name, $values := dict "drain" "drain" "listen" "ports.api" "admin" "ports.admin" -}}
{{- if hasKey $content $name }}
`{{ $name }}` in config.content has no effect: {{ $values }} in the values overrides it.
{{- end -}}
{{- end -}}
{{- if hasKey $content "discovery" }}
`discovery` is in config.content. The chart makes Roles and NetworkPolicies from `discovery` in the values: keep both the same.
{{- end -}}
{{- end }}
