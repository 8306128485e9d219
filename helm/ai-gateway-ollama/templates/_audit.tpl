{{/* The audit in PostgreSQL, which several gateways share: its section of config.yml, and what it needs in the pod. */}}

{{- define "gateway.hasPostgresql" -}}
{{- if .Values.audit.postgresql.existingSecret }}true{{ end -}}
{{- end }}

{{/* The section of config.yml, as YAML: what the values say, and where the chart puts files. */}}
{{- define "gateway.auditConfig" -}}
{{- $section := deepCopy .Values.config.audit -}}
{{- if include "gateway.hasPostgresql" . -}}
{{- $section = merge (dict
  "store" "postgresql"
  "dsn_file" "/etc/ai-gateway-audit/dsn"
  "key_file" "/etc/ai-gateway-audit/key"
  "spool" "/var/lib/ai-gateway/audit-spool") $section -}}
{{- end -}}
{{- toYaml $section }}
{{- end }}

{{- define "gateway.auditMounts" -}}
{{- if include "gateway.hasPostgresql" . }}
- {name: audit-secret, mountPath: /etc/ai-gateway-audit, readOnly: true}
- {name: audit-spool, mountPath: /var/lib/ai-gateway}
{{- end }}
{{- end }}

{{/* A Secret that is mounted as a whole follows its changes: a new password is read with the next connection. */}}
{{- define "gateway.auditVolumes" -}}
{{- with .Values.audit.postgresql }}
{{- if .existingSecret }}
- name: audit-secret
  secret:
    secretName: {{ .existingSecret }}
    items:
      - {key: {{ .dsnKey | quote }}, path: dsn}
      - {key: {{ .chainKey | quote }}, path: key}
- name: audit-spool
  emptyDir: {}
{{- end }}
{{- end }}
{{- end }}
