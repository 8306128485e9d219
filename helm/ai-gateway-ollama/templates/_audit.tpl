{{/* The audit: the files that the chart puts into the pod for it. */}}

{{- define "ai-gateway-ollama.hasPostgresql" -}}
{{- if .Values.audit.postgresql.existingSecret }}true{{ end -}}
{{- end }}

{{/* A Secret that is mounted as a whole follows its changes: a new password is read with the next connection. */}}
{{- define "ai-gateway-ollama.postgresqlVolume" -}}
- name: audit-postgresql
  secret:
    secretName: {{ .Values.audit.postgresql.existingSecret | toYaml }}
    items:
      - {key: {{ .Values.audit.postgresql.secretKey | quote }}, path: dsn}
{{- end }}

{{/*
The most that the audit may take of a node, whose kubelet evicts the pod beyond it: a quarter more than the gateway keeps
to, for what a minute adds until the oldest goes, and room for SQLite's journal; in front of PostgreSQL the spool.
*/}}
{{- define "ai-gateway-ollama.auditSizeLimit" -}}
{{- if .Values.audit.sizeLimit -}}
{{- .Values.audit.sizeLimit }}
{{- else -}}
{{- $audit := (include "ai-gateway-ollama.once" (list . "parsedConfig") | fromJson).audit -}}
{{- if not (kindIs "map" $audit) }}{{ $audit = dict }}{{ end -}}
{{- $bytes := int64 0 -}}
{{- if eq (toString $audit.store) "postgresql" -}}
{{- $bytes = include "ai-gateway-ollama.bytes" (default "64MiB" $audit.spool_size) | int64 -}}
{{- else -}}
{{- $bytes = include "ai-gateway-ollama.bytes" (default "2GiB" $audit.max_size) | int64 -}}
{{- end -}}
{{- printf "%dMi" (add (div (add $bytes (div $bytes 4) 1048575) 1048576) 256) }}
{{- end -}}
{{- end }}

{{/* The bytes of a size as config.yml has it: a number, or text with KB, KiB and so on. */}}
{{- define "ai-gateway-ollama.bytes" -}}
{{- if kindIs "string" . -}}
{{- $unit := get (dict "K" 1 "M" 2 "G" 3) (regexFind "[KMG]" .) -}}
{{- $bytes := regexFind "^[0-9]+" . | int64 -}}
{{- range until (int $unit) }}{{ $bytes = mul $bytes (ternary 1024 1000 (contains "i" $)) }}{{ end -}}
{{- $bytes }}
{{- else -}}
{{- int64 . }}
{{- end -}}
{{- end }}
