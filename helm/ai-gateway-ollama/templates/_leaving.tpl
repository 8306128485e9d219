{{/* How long a pod may take to leave. */}}

{{/* A duration as config.yml knows it, such as `90` or `5m`, in whole seconds; nothing if it is none. */}}
{{- define "ai-gateway-ollama.seconds" -}}
{{- $unit := regexFind "[a-z]*$" . -}}
{{- $units := dict "" 1.0 "ms" 0.001 "s" 1.0 "m" 60.0 "h" 3600.0 "d" 86400.0 -}}
{{- if and (regexMatch "^[0-9.]+[a-z]*$" .) (hasKey $units $unit) -}}
{{- mulf (trimSuffix $unit .) (index $units $unit) | ceil | int -}}
{{- end -}}
{{- end }}

{{/* Seconds of the longest drain: your variable or flag overrides the values, as it does in the gateway. */}}
{{- define "ai-gateway-ollama.drainSeconds" -}}
{{- $root := . -}}
{{- $sum := 0 -}}
{{- range $part, $seconds := dict "delay" .Values.drain.delaySeconds "grace" .Values.drain.graceSeconds -}}
{{- $said := "" -}}
{{- range $root.Values.extraEnv }}{{ if eq .name (printf "AI_GATEWAY_DRAIN_%s" (upper $part)) }}{{ $said = default "" .value }}{{ end }}{{ end -}}
{{- range regexFindAll (printf "--drain-%s[= ][^ ]+" $part) (join " " $root.Values.extraArgs) -1 }}{{ $said = regexFind "[^= ]+$" . }}{{ end -}}
{{- $sum = add $sum (default $seconds (include "ai-gateway-ollama.seconds" $said)) -}}
{{- end -}}
{{- $sum -}}
{{- end }}

{{/* The same with the pause before it: Ollama's in a pod of both, else that of the pre-stop hook. */}}
{{- define "ai-gateway-ollama.leavingSeconds" -}}
{{- $pause := 1 -}}
{{- if include "ai-gateway-ollama.isSidecar" . -}}
{{- $pause = 2 -}}
{{- else if hasKey .Values.lifecycle "preStop" -}}
{{- $pause = dig "preStop" "sleep" "seconds" 0 .Values.lifecycle | int -}}
{{- end -}}
{{- add $pause (include "ai-gateway-ollama.drainSeconds" .) -}}
{{- end }}

{{- define "ai-gateway-ollama.gracePeriod" -}}
{{- if kindIs "invalid" .Values.terminationGracePeriodSeconds -}}
{{- add 20 (include "ai-gateway-ollama.leavingSeconds" .) -}}
{{- else -}}
{{- int .Values.terminationGracePeriodSeconds -}}
{{- end -}}
{{- end }}

{{/* Hooks of a gateway by itself. A pod that is deleted as it starts is signalled milliseconds after its first process was
made, and the kernel drops what that one does not hear yet: a second makes sure that it does. */}}
{{- define "ai-gateway-ollama.lifecycle" -}}
{{- $wait := dict "exec" (dict "command" (list "python3" "-c" "import time; time.sleep(1)")) -}}
{{- toYaml (ternary .Values.lifecycle (merge (dict "preStop" $wait) .Values.lifecycle) (hasKey .Values.lifecycle "preStop")) }}
{{- end }}
