{{/* The audit: its section of config.yml, and the files that the chart puts into the pod for it. */}}

{{- define "ai-gateway-ollama.hasPostgresql" -}}
{{- if .Values.audit.postgresql.existingSecret }}true{{ end -}}
{{- end }}

{{/* As YAML: what the values say, and before that where the chart's files are. */}}
{{- define "ai-gateway-ollama.auditConfig" -}}
{{- $section := deepCopy (default (dict) .Values.config.audit) -}}
{{- if include "ai-gateway-ollama.hasPostgresql" . -}}
{{- $section = merge (dict "store" "postgresql" "dsn_file" "/etc/ai-gateway-postgresql/dsn") $section -}}
{{- end -}}
{{- if .Values.audit.key.existingSecret -}}
{{- $section = merge $section (dict "key_file" "/etc/ai-gateway-audit/key") -}}
{{- end -}}
{{- if $section }}{{ toYaml $section }}{{ end -}}
{{- end }}

{{/* A Secret that is mounted as a whole follows its changes: a new password is read with the next connection. */}}
{{- define "ai-gateway-ollama.postgresqlVolume" -}}
- name: audit-postgresql
  secret:
    secretName: {{ .Values.audit.postgresql.existingSecret }}
    items:
      - {key: {{ .Values.audit.postgresql.secretKey | quote }}, path: dsn}
{{- end }}
