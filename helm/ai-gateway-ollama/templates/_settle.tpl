{{/*
Values that somebody left empty. Helm hands on an empty value as null, or takes its key away. Either way a section is then
as values.yaml has it, and so is a value that must be something; what is documented as a whole, such as a probe or the
affinity, is nothing, and a key that was taken out of it stays out. `files/empty-values.json` says what each one becomes:
Helm shows templates only what is left of values.yaml, so tools/chart makes this file of it.

Every template that renders begins with this, since any of them may be the first, which does it for all.
*/}}
{{- define "ai-gateway-ollama.settle" -}}
{{- if not (hasKey .Values "settled") -}}
{{- $_ := set .Values "settled" true -}}
{{- $_ := set .Values "made" dict -}}
{{- /* Under one parent `global` belongs to all charts: only a copy is settled. */ -}}
{{- $_ := set .Values "global" (merge (dict) (default (dict) .Values.global)) -}}
{{- include "ai-gateway-ollama.settleSection" (dict "values" .Values "empty" (.Files.Get "files/empty-values.json" | fromJson) "isEmpty" false) -}}
{{- /* In config.yml an empty key has its own meaning, and other objects are none of the chart's business. */ -}}
{{- include "ai-gateway-ollama.withoutNulls" (omit .Values "config" "global" "extraObjects") -}}
{{- include "ai-gateway-ollama.settleModels" .Values.config.models -}}
{{- include "ai-gateway-ollama.settleProbes" .Values -}}
{{- include "ai-gateway-ollama.settleObjects" .Values -}}
{{- end -}}
{{- end }}

{{/*
A map in `empty` is a section. A list holds what the value becomes on its own, and what it is in a section that is empty
as a whole, which is called with "isEmpty". A map whose last key Helm took away is empty, too.
*/}}
{{- define "ai-gateway-ollama.settleSection" -}}
{{- $section := . -}}
{{- $values := .values -}}
{{- range $name, $empty := .empty -}}
{{- $value := index $values $name -}}
{{- $isEmpty := or (kindIs "invalid" $value) (and (kindIs "map" $value) (empty $value)) -}}
{{- if kindIs "map" $empty -}}
{{- if $isEmpty }}{{ $_ := set $values $name dict }}{{ end -}}
{{- include "ai-gateway-ollama.settleSection" (dict "values" (index $values $name) "empty" $empty "isEmpty" $isEmpty) -}}
{{- else if $isEmpty -}}
{{- if $section.isEmpty }}{{ $_ := set $values $name (last $empty) }}{{ else }}{{ $_ := set $values $name (first $empty) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Null means that the key is not there, as it does for Kubernetes. Call with a map or list, which changes. */}}
{{- define "ai-gateway-ollama.withoutNulls" -}}
{{- $all := . -}}
{{- if or (kindIs "map" .) (kindIs "slice" .) -}}
{{- range $name, $value := . -}}
{{- if not (kindIs "invalid" $value) }}{{ include "ai-gateway-ollama.withoutNulls" $value }}
{{- else if kindIs "map" $all }}{{ $_ := unset $all $name }}{{ end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* A model of which nothing is said beside its id, also by `--set config.models.ID=`. */}}
{{- define "ai-gateway-ollama.settleModels" -}}
{{- $models := . -}}
{{- range $id, $model := . }}{{ if not $model }}{{ $_ := set $models $id dict }}{{ end }}{{ end -}}
{{- end }}

{{/* A probe has one handler: another one takes the place of the chart's, which stands in for what is missing of it. */}}
{{- define "ai-gateway-ollama.settleProbes" -}}
{{- $values := . -}}
{{- range $name, $path := dict "startupProbe" "/livez" "livenessProbe" "/livez" "readinessProbe" "/readyz" -}}
{{- with index $values $name -}}
{{- if or .exec .tcpSocket .grpc -}}
{{- $_ := unset . "httpGet" -}}
{{- else -}}
{{- $_ := set . "httpGet" (merge (default (dict) .httpGet) (dict "path" $path "port" "admin")) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* What Helm leaves of a default whose keys were taken out or do not fit what the user chose. */}}
{{- define "ai-gateway-ollama.settleObjects" -}}
{{- range $whole := list .podSecurityContext .securityContext .resources .tests.resources .ollama.resources -}}
{{- range $name, $part := $whole -}}
{{- if and (kindIs "map" $part) (not $part) }}{{ $_ := unset $whole $name }}{{ end -}}
{{- end -}}
{{- end -}}
{{- if eq (default "" .strategy.type) "Recreate" }}{{ $_ := unset .strategy "rollingUpdate" }}{{ end -}}
{{- end }}

{{/* What a template of the chart's makes of the values, made once: the config is asked for by most of the others, and takes
a while where it is long. Call with (list $ NAME). */}}
{{- define "ai-gateway-ollama.once" -}}
{{- $made := get (first .).Values "made" -}}
{{- if not (hasKey $made (last .)) }}{{ $_ := set $made (last .) (include (printf "ai-gateway-ollama.%s" (last .)) (first .)) }}{{ end -}}
{{- get $made (last .) }}
{{- end }}
