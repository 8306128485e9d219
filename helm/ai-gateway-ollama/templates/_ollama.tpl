{{/* Ollama of the chart's own. */}}

{{/* Ollama's names of the models that its pods pull before they start, as a JSON list: those that the gateway does not
pull. */}}
{{- define "ai-gateway-ollama.ollamaModels" -}}
{{- $names := .Values.ollama.pull.models -}}
{{- if not $names -}}
{{- $models := (include "ai-gateway-ollama.once" (list . "parsedConfig") | fromJson).models -}}
{{- $names = (include "ai-gateway-ollama.byPuller" (list . $models) | fromJson).others -}}
{{- end -}}
{{- toJson ($names | uniq) }}
{{- end }}

{{/* One server per container, so that models are there before anybody asks for them. */}}
{{- define "ai-gateway-ollama.pullScript" -}}
trap 'exit 143' TERM INT
ollama serve & server=$!
trap 'kill $server; wait $server' EXIT
until ollama list >/dev/null 2>&1; do
  kill -0 $server || exit 1
  sleep 1
done
for model in "$@"; do
  ollama show "$model" >/dev/null 2>&1 && continue
  ollama pull "$model" & wait $! || exit 1
done
{{- end }}

{{/*
Until no connection to Ollama's port is open, and at most as long as a drain. The gateway in the pod leaves meanwhile,
by a hook of its own; the others close what they do not use as soon as the pod is being deleted.
*/}}
{{- define "ai-gateway-ollama.ollamaWaitScript" -}}
sleep 2
seconds={{ include "ai-gateway-ollama.drainSeconds" . }}
while [ $seconds -gt 0 ] && grep -qsE '^ *[0-9]+: [0-9A-F]+:{{ printf "%04X" (int .Values.discovery.port) }} [0-9A-F]+:[0-9A-F]+ 01 ' /proc/net/tcp /proc/net/tcp6; do
  sleep 1
  seconds=$((seconds - 1))
done
{{- end }}

{{/* The chart's own environment of Ollama, as a JSON list. No host: every address of both families. */}}
{{- define "ai-gateway-ollama.ollamaEnv" -}}
{{- $env := list
  (dict "name" "OLLAMA_HOST" "value" (printf ":%v" (int .Values.discovery.port)))
  (dict "name" "OLLAMA_MODELS" "value" "/models")
  (dict "name" "OLLAMA_NUM_PARALLEL" "value" (.Values.ollama.numParallel | int | toString))
  (dict "name" "HOME" "value" "/tmp") -}}
{{- if (include "ai-gateway-ollama.reconcileInForce" . | fromJson).shared_store -}}
{{- $env = append $env (dict "name" "OLLAMA_NOPRUNE" "value" "1") -}}
{{- end -}}
{{- toJson $env }}
{{- end }}

{{- define "ai-gateway-ollama.ollamaContainer" -}}
{{- $ollama := .Values.ollama -}}
image: {{ include "ai-gateway-ollama.image" (dict "root" . "image" $ollama.image "tag" $ollama.image.tag) | quote }}
imagePullPolicy: {{ $ollama.image.pullPolicy }}
env:
  {{- include "ai-gateway-ollama.env" (list (include "ai-gateway-ollama.ollamaEnv" . | fromJsonArray) $ollama.extraEnv) | nindent 2 }}
securityContext:
  {{- toYaml .Values.securityContext | nindent 2 }}
volumeMounts:
  - {name: models, mountPath: /models}
  - {name: ollama-tmp, mountPath: /tmp}
{{- end }}
