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
  # in place of MODEL, a model that the line before lists
{{- end }}
{{- if $tls }}
  # --insecure, since the certificate is for the Service's name, and not for localhost
{{- end }}
{{- if and .Values.config.existingConfigMap (not $methods) }}
  # with -H "authorization: Bearer KEY" where your ConfigMap asks for one
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
Served: {{ $named }}, and every other model that an Ollama holds (catalog.discover), which has no limits of its own.
{{- else if $ids -}}
Served: {{ $named }}; no other model, whatever an Ollama holds. `catalog: {discover: true}` serves all of them.
{{- else if $discovers -}}
Served: every model that an Ollama holds, since no model is named (catalog.discover). Naming one ends that: from then on
those that are named are served, each with settings and limits of its own, such as
  --set config.models.llama3.version=latest
{{- else -}}
NOTHING IS SERVED: no model is named, and catalog.discover is off. Name one, such as
  --set config.models.llama3.version=latest
{{- end -}}
{{- end }}

{{/* What the chart's own Ollama gets, and how it gets a model. */}}
{{- define "ai-gateway-ollama.pulledModels" -}}
{{- if include "ai-gateway-ollama.hasOllama" . -}}
{{- $models := include "ai-gateway-ollama.ollamaModels" . | fromJsonArray -}}
{{- if and $models .Values.ollama.pull.enabled -}}
Pulled before Ollama starts: {{ join ", " $models }}
{{- else if .Values.ollama.pull.enabled -}}
NOTHING IS PULLED: the chart's Ollama starts without a model, since none is named. This line adds one:
  helm upgrade {{ .Release.Name }} CHART -n {{ .Release.Namespace }} --reset-then-reuse-values --set config.models.llama3.version=latest
{{- else -}}
NOTHING IS PULLED into the chart's Ollama (ollama.pull.enabled). This line adds a model to one pod:
  kubectl exec -n {{ include "ai-gateway-ollama.namespace" . }} {{ include "ai-gateway-ollama.ollamaName" . }}-0 -c ollama -- ollama pull llama3
{{- end -}}
{{- end -}}
{{- end }}

{{/* What a ConfigMap of one's own must say for these values to mean something. */}}
{{- define "ai-gateway-ollama.ownConfigMap" -}}
It is your own: this release never writes it.
{{- with include "ai-gateway-ollama.once" (list . "parsedConfig") | fromJson }} What these values turn on takes effect only where it says so, too:

{{ toYaml . | indent 2 }}
{{- end }}
{{ with include "ai-gateway-ollama.required" . }}
Until it has a word about {{ . | replace "," ", " }}, no gateway becomes ready (config.require).
{{- else }}
A file without `auth` lets everyone in, once the gateway starts with it: `--set config.require={auth}` makes it wait
instead until the file says who is let in.
{{- end }}
{{- end }}

{{/* What of `config.content` other values decide. */}}
{{- define "ai-gateway-ollama.besideContent" -}}
{{- $content := include "ai-gateway-ollama.once" (list . "contentSections") | fromJson -}}
{{- range $name, $values := dict "drain" "drain" "listen" "ports.api" "admin" "ports.admin" -}}
{{- if hasKey $content $name }}
`{{ $name }}` in config.content has no effect: {{ $values }} in the values goes before it.
{{- end -}}
{{- end -}}
{{- if hasKey $content "discovery" }}
`discovery` is in config.content. Roles and NetworkPolicies are made from `discovery` in the values: let both say the same.
{{- end -}}
{{- end }}
