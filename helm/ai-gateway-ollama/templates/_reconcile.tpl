{{/* Models that the gateway brings to the Ollama pods. */}}

{{/* `reconcile` of the file in force, as JSON. */}}
{{- define "ai-gateway-ollama.reconcileInForce" -}}
{{- include "ai-gateway-ollama.part" (list (include "ai-gateway-ollama.fileInForce" . | fromJson) "reconcile") }}
{{- end }}

{{/* Whether the gateways may pull. Of a ConfigMap of one's own the chart does not know. */}}
{{- define "ai-gateway-ollama.mayPull" -}}
{{- $file := include "ai-gateway-ollama.fileInForce" . | fromJson -}}
{{- $loads := (include "ai-gateway-ollama.part" (list $file "balancing") | fromJson).loads -}}
{{- $mode := (include "ai-gateway-ollama.reconcileInForce" . | fromJson).mode -}}
{{- if not (or .Values.config.existingConfigMap (eq (toString $loads) "never") (eq (toString $mode) "never")) }}true{{ end -}}
{{- end }}

{{/* Whether they pull a model of which nothing is said. */}}
{{- define "ai-gateway-ollama.gatewayPulls" -}}
{{- $pull := default "never" (include "ai-gateway-ollama.reconcileInForce" . | fromJson).pull -}}
{{- if and (include "ai-gateway-ollama.mayPull" .) (ne (toString $pull) "never") }}true{{ end -}}
{{- end }}

{{/* Ollama's names of models, as JSON: `gateway` has those that the gateway pulls where they are missing, `others` the
rest. One with a tag needs no other, as in the gateway; one with a host needs it in `registries`. Call with (list $
MODELS). */}}
{{- define "ai-gateway-ollama.byPuller" -}}
{{- $root := first . -}}
{{- $models := ternary (last .) dict (kindIs "map" (last .)) -}}
{{- $reconcile := include "ai-gateway-ollama.reconcileInForce" $root | fromJson -}}
{{- $mayPull := include "ai-gateway-ollama.mayPull" $root -}}
{{- $hosts := append (ternary $reconcile.registries list (kindIs "slice" $reconcile.registries)) "registry.ollama.ai" -}}
{{- $gateway := list -}}
{{- $others := list -}}
{{- range $id, $model := $models -}}
{{- if not (kindIs "map" $model) }}{{ $model = dict }}{{ end -}}
{{- $name := default $id $model.ollama -}}
{{- if not (contains ":" (splitList "/" $name | last)) }}{{ $name = printf "%s:%v" $name (default "latest" $model.version) }}{{ end -}}
{{- $parts := splitList "/" (lower $name) -}}
{{- $isForeign := and (eq (len $parts) 3) (not (has (first $parts) $hosts)) -}}
{{- $pull := default "never" $reconcile.pull -}}
{{- if $model.pull }}{{ $pull = $model.pull }}{{ end -}}
{{- if or (not $mayPull) $isForeign (eq (toString $pull) "never") -}}
{{- $others = append $others $name -}}
{{- else -}}
{{- $gateway = append $gateway $name -}}
{{- end -}}
{{- end -}}
{{- dict "gateway" ($gateway | uniq) "others" ($others | uniq) | toJson }}
{{- end }}

{{/* The ports of registries that the config names, as a JSON list. */}}
{{- define "ai-gateway-ollama.registryPorts" -}}
{{- $reconcile := include "ai-gateway-ollama.reconcileInForce" . | fromJson -}}
{{- $plain := ternary $reconcile.insecure_registries list (kindIs "slice" $reconcile.insecure_registries) -}}
{{- $ports := list -}}
{{- range ternary $reconcile.registries list (kindIs "slice" $reconcile.registries) -}}
{{- $ports = append $ports (ternary (regexFind "[0-9]+$" . | int) (ternary 80 443 (has . $plain)) (regexMatch ":[0-9]+$" .)) -}}
{{- end -}}
{{- toJson ($ports | uniq) }}
{{- end }}
