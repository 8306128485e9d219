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
{{- $named := include "ai-gateway-ollama.someOf" $ids -}}
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

{{/* Which models are pulled, by whom, and the line that adds one. */}}
{{- define "ai-gateway-ollama.pulledModels" -}}
{{- $file := include "ai-gateway-ollama.fileInForce" . | fromJson -}}
{{- $models := include "ai-gateway-ollama.part" (list $file "models") | fromJson -}}
{{- $byGateway := (include "ai-gateway-ollama.byPuller" (list . $models) | fromJson).gateway -}}
{{- $before := list -}}
{{- if and (include "ai-gateway-ollama.hasOllama" .) .Values.ollama.pull.enabled }}{{ $before = include "ai-gateway-ollama.ollamaModels" . | fromJsonArray }}{{ end -}}
{{- $add := printf "helm upgrade %s CHART -n %s --reset-then-reuse-values --set config.models.llama3.version=latest" .Release.Name .Release.Namespace -}}
{{- $gatewayPulls := include "ai-gateway-ollama.gatewayPulls" . -}}
{{- if $before -}}
Pulled before Ollama starts: {{ join ", " $before }}
{{- if $byGateway }}
{{ end -}}
{{- end -}}
{{- if $byGateway -}}
Pulled by the gateway, if no Ollama has it: {{ include "ai-gateway-ollama.someOf" $byGateway }}. GET /v1/models/MODEL tells how far
it is. `--set config.reconcile.pull=never` leaves pulling to you.
{{- else if $before -}}
{{- else if and (include "ai-gateway-ollama.hasOllama" .) (not $models) (or $gatewayPulls .Values.ollama.pull.enabled) -}}
NOTHING IS PULLED: you name no model, so the chart's Ollama starts without one. This line adds one:
  {{ $add }}
{{- else if include "ai-gateway-ollama.hasOllama" . -}}
NOTHING IS PULLED into the chart's Ollama (ollama.pull.enabled). This line adds a model to one pod:
  kubectl exec -n {{ include "ai-gateway-ollama.namespace" . }} {{ include "ai-gateway-ollama.ollamaName" . }}-0 -c ollama -- ollama pull llama3
{{- else if and $gatewayPulls (not $models) -}}
Nothing is pulled, because you name no model. The gateway pulls a model that you name, if no Ollama has it. To add one:
  {{ $add }}
{{- else if not (or $gatewayPulls .Values.config.existingConfigMap (hasKey $file "reconcile")) -}}
The gateway pulls nothing, because the edited file lacks the line that lets it. This is the line:
  reconcile: {pull: if_missing}
{{- end -}}
{{- end }}

{{/* The first ten names of a list, and how many more there are. */}}
{{- define "ai-gateway-ollama.someOf" -}}
{{- join ", " (slice . 0 (min 10 (len .) | int)) }}{{ if gt (len .) 10 }} and {{ sub (len .) 10 }} more{{ end -}}
{{- end }}

{{/* What a ConfigMap of one's own must say for these values to mean something. */}}
{{- define "ai-gateway-ollama.ownConfigMap" -}}
The ConfigMap is your own: this release never writes it.
{{- $config := include "ai-gateway-ollama.once" (list . "parsedConfig") | fromJson -}}
{{- if eq (toJson $config.reconcile) "{\"pull\":\"if_missing\"}" }}{{ $_ := unset $config "reconcile" }}{{ end -}}
{{- with $config }} Your values turn on what follows. Write it into the ConfigMap too:

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
