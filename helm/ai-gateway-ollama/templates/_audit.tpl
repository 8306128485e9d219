{{/* The audit: the files that the chart puts into the pod for it. */}}

{{- define "ai-gateway-ollama.hasPostgresql" -}}
{{- if .Values.audit.postgresql.existingSecret }}true{{ end -}}
{{- end }}

{{/* A Secret that is mounted as a whole follows its changes: a new password is read with the next connection. */}}
{{- define "ai-gateway-ollama.postgresqlVolume" -}}
- name: audit-postgresql
  secret:
    secretName: {{ .Values.audit.postgresql.existingSecret }}
    items:
      - {key: {{ .Values.audit.postgresql.secretKey | quote }}, path: dsn}
{{- end }}
