{{/* The gateway's container and what a pod around it needs. */}}

{{/*
An image. Call with (dict "root" $ "image" VALUES "tag" DEFAULT). A registry takes the place of one that the repository
begins with. A digest takes the place of the tag; a tag that is written with a digest keeps both.
*/}}
{{- define "ai-gateway-ollama.image" -}}
{{- $registry := default .image.registry .root.Values.global.imageRegistry | trimAll "/" -}}
{{- $name := .image.repository | trimAll "/" -}}
{{- if $registry -}}
{{- $name = printf "%s/%s" $registry (regexReplaceAll "^(localhost|[^/]*[.:][^/]*)/" $name "") -}}
{{- end -}}
{{- $tag := default .tag .image.tag -}}
{{- $pinned := regexFind "@.*" $tag | trimPrefix "@" -}}
{{- if and $pinned .image.digest (ne $pinned .image.digest) -}}
{{- fail (printf "image.tag and image.digest: %s and %s are two images of %s; leave one of them empty" $tag .image.digest $name) -}}
{{- end -}}
{{- if $pinned -}}
{{ $name }}{{ if not (hasPrefix "@" $tag) }}:{{ end }}{{ $tag }}
{{- else if .image.digest -}}
{{ $name }}@{{ .image.digest }}
{{- else -}}
{{ $name }}:{{ $tag }}
{{- end }}
{{- end }}

{{- define "ai-gateway-ollama.ownImage" -}}
{{- include "ai-gateway-ollama.image" (dict "root" . "image" .Values.image "tag" .Chart.AppVersion) }}
{{- end }}

{{/* Each Secret once, named as Kubernetes does or by its name alone. */}}
{{- define "ai-gateway-ollama.imagePullSecrets" -}}
{{- $names := list -}}
{{- range concat .Values.global.imagePullSecrets .Values.imagePullSecrets -}}
{{- if kindIs "map" . }}{{ $names = append $names .name }}{{ else }}{{ $names = append $names . }}{{ end -}}
{{- end -}}
{{- with $names | uniq | compact }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | toYaml }}
  {{- end }}
{{- end }}
{{- end }}

{{/* Entries of which no two have the same KEY, which server-side apply refuses: the later overrides the earlier. A
path counts as the same with a slash at its end. Call with (list KEY ENTRIES). */}}
{{- define "ai-gateway-ollama.unique" -}}
{{- $key := first . -}}
{{- $entries := list -}}
{{- range $entry := last . }}
{{- $rest := list }}
{{- range $known := $entries }}
{{- if ne (clean (get $known $key)) (clean (get $entry $key)) }}{{ $rest = append $rest $known }}{{ end }}
{{- end }}
{{- $entries = append $rest $entry }}
{{- end }}
{{- toYaml $entries }}
{{- end }}

{{/* Environment without duplicate names: the later list overrides the earlier. Call with a list of lists. */}}
{{- define "ai-gateway-ollama.env" -}}
{{- $entries := list -}}
{{- range . }}{{ $entries = concat $entries . }}{{ end -}}
{{- include "ai-gateway-ollama.unique" (list "name" $entries) }}
{{- end }}

{{/* How a pod finds others by name: the same for all pods of the chart. */}}
{{- define "ai-gateway-ollama.nameResolution" -}}
{{- with .Values.dnsPolicy }}
dnsPolicy: {{ . }}
{{- end }}
{{- with .Values.dnsConfig }}
dnsConfig:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with include "ai-gateway-ollama.hostNames" . | fromJson }}
hostAliases:
  {{- range $ip, $names := . }}
  - ip: {{ $ip | quote }}
    hostnames: {{ toJson $names }}
  {{- end }}
{{- end }}
{{- end }}

{{/* The names of each address, as a JSON object: an address that is written twice has the names of both. */}}
{{- define "ai-gateway-ollama.hostNames" -}}
{{- $names := dict -}}
{{- range .Values.hostAliases }}{{ $_ := set $names .ip (concat (default list (index $names .ip)) .hostnames | uniq) }}{{ end -}}
{{- toJson $names }}
{{- end }}

{{/* The mounts of the gateway's container; a path that the user mounts is the user's. */}}
{{- define "ai-gateway-ollama.volumeMounts" -}}
- {name: config, mountPath: /etc/ai-gateway, readOnly: true}
- {name: tmp, mountPath: /tmp}
- {name: audit, mountPath: /var/lib/ai-gateway}
{{- if include "ai-gateway-ollama.hasPostgresql" . }}
- {name: audit-postgresql, mountPath: /etc/ai-gateway-postgresql, readOnly: true}
{{- end }}
{{- if .Values.audit.key.existingSecret }}
- {name: audit-key, mountPath: /etc/ai-gateway-audit, readOnly: true}
{{- end }}
{{- if .Values.tls.enabled }}
- {name: tls, mountPath: /etc/ai-gateway-tls, readOnly: true}
{{- end }}
{{- if .Values.auth.keysSecret.name }}
- {name: keys, mountPath: /etc/ai-gateway-keys, readOnly: true}
{{- end }}
{{- if .Values.limits.redis.existingSecret }}
- {name: redis, mountPath: /etc/ai-gateway-redis, readOnly: true}
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The chart's own environment of the gateway, as a JSON list. The pre-stop hook reads AI_GATEWAY_ADMIN, too. */}}
{{- define "ai-gateway-ollama.ownEnv" -}}
{{- $env := list
  (dict "name" "AI_GATEWAY_LISTEN" "value" (printf ":%v" (int .Values.ports.api)))
  (dict "name" "AI_GATEWAY_ADMIN" "value" (printf ":%v" (int .Values.ports.admin)))
  (dict "name" "AI_GATEWAY_CONFIG" "value" "/etc/ai-gateway")
  (dict "name" "XDG_STATE_HOME" "value" "/var/lib/ai-gateway")
  (dict "name" "AI_GATEWAY_DRAIN_DELAY" "value" (printf "%vs" (int .Values.drain.delaySeconds)))
  (dict "name" "AI_GATEWAY_DRAIN_GRACE" "value" (printf "%vs" (int .Values.drain.graceSeconds))) -}}
{{- if eq .Values.config.watch "api" -}}
{{- $named := include "ai-gateway-ollama.configMapName" . -}}
{{- if ne .Values.config.key "config.yml" }}{{ $named = printf "%s:%s" $named .Values.config.key }}{{ end -}}
{{- $env = append $env (dict "name" "AI_GATEWAY_CONFIGMAP" "value" $named) -}}
{{- end -}}
{{- with include "ai-gateway-ollama.required" . -}}
{{- $env = append $env (dict "name" "AI_GATEWAY_REQUIRE" "value" .) -}}
{{- end -}}
{{- /* The gateways of the Service tell each other what they do, and each finds itself among them by its pod's uid. The
Service is one of the pod's own namespace: a name alone is what kustomize's prefixes reach. */ -}}
{{- $uid := dict "fieldRef" (dict "apiVersion" "v1" "fieldPath" "metadata.uid") -}}
{{- $env = append $env (dict "name" "AI_GATEWAY_PEERS_SERVICE" "value" (include "ai-gateway-ollama.fullname" .)) -}}
{{- $env = append $env (dict "name" "AI_GATEWAY_POD_UID" "valueFrom" $uid) -}}
{{- toJson $env }}
{{- end }}

{{/* Everything of the gateway's container that is the same in both placements. */}}
{{- define "ai-gateway-ollama.container" -}}
name: gateway
image: {{ include "ai-gateway-ollama.ownImage" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
args:
  - serve
  {{- with .Values.extraArgs }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
env:
  {{- include "ai-gateway-ollama.env" (list (include "ai-gateway-ollama.ownEnv" . | fromJsonArray) (include "ai-gateway-ollama.limitsEnv" . | fromJsonArray) (include "ai-gateway-ollama.telemetryEnv" . | fromJsonArray) .Values.extraEnv) | nindent 2 }}
{{- with .Values.extraEnvFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
ports:
  - {name: {{ include "ai-gateway-ollama.apiPortName" . }}, containerPort: {{ .Values.ports.api }}, protocol: TCP}
  - {name: admin, containerPort: {{ .Values.ports.admin }}, protocol: TCP}
{{- with .Values.startupProbe }}
startupProbe:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.livenessProbe }}
livenessProbe:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.readinessProbe }}
readinessProbe:
  {{- toYaml . | nindent 2 }}
{{- end }}
resources:
  {{- toYaml .Values.resources | nindent 2 }}
{{- with .Values.resizePolicy }}
resizePolicy:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- toYaml .Values.securityContext | nindent 2 }}
volumeMounts:
  {{- include "ai-gateway-ollama.unique" (list "mountPath" (include "ai-gateway-ollama.volumeMounts" . | fromYamlArray)) | nindent 2 }}
{{- end }}

{{/* In Ollama's pods the name `http` is Ollama's. */}}
{{- define "ai-gateway-ollama.apiPortName" -}}
{{- if include "ai-gateway-ollama.isSidecar" . }}api{{ else }}{{ include "ai-gateway-ollama.scheme" . }}{{ end }}
{{- end }}

{{/* The whole ConfigMap is mounted, no subPath: it stands in until the API server answers, and follows edits. */}}
{{- define "ai-gateway-ollama.volumes" -}}
- name: config
  configMap:
    name: {{ include "ai-gateway-ollama.configMapName" . | toYaml }}
    optional: true
    items:
      - {key: {{ .Values.config.key | quote }}, path: config.yml}
- name: tmp
  emptyDir: {sizeLimit: 64Mi}
- name: audit
{{- if .Values.audit.persistence.enabled }}
  persistentVolumeClaim:
    claimName: {{ include "ai-gateway-ollama.auditClaim" . | toYaml }}
{{- else }}
  emptyDir: {sizeLimit: {{ include "ai-gateway-ollama.auditSizeLimit" . }}}
{{- end }}
{{- if include "ai-gateway-ollama.hasPostgresql" . }}
{{ include "ai-gateway-ollama.postgresqlVolume" . }}
{{- end }}
{{- if .Values.audit.key.existingSecret }}
- name: audit-key
  secret:
    secretName: {{ .Values.audit.key.existingSecret | toYaml }}
    items:
      - {key: {{ .Values.audit.key.secretKey | quote }}, path: key}
{{- end }}
{{- if .Values.tls.enabled }}
- name: tls
  secret:
    secretName: {{ include "ai-gateway-ollama.tlsSecret" . | toYaml }}
{{- end }}
{{- with .Values.auth.keysSecret }}
{{- if .name }}
- name: keys
  secret:
    secretName: {{ .name | toYaml }}
    items:
      - {key: {{ .key | quote }}, path: keys.yaml}
{{- end }}
{{- end }}
{{- with .Values.limits.redis.existingSecret }}
- name: redis
  secret:
    secretName: {{ . | toYaml }}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "ai-gateway-ollama.tlsSecret" -}}
{{- default (printf "%s-tls" (include "ai-gateway-ollama.fullname" .)) .Values.tls.existingSecret }}
{{- end }}

{{- define "ai-gateway-ollama.auditClaim" -}}
{{- default (printf "%s-audit" (include "ai-gateway-ollama.fullname" .)) .Values.audit.persistence.existingClaim }}
{{- end }}

{{/* Constraints that name no pods of their own are about the gateway's. */}}
{{- define "ai-gateway-ollama.topologySpread" -}}
{{- $selector := dict "matchLabels" (include "ai-gateway-ollama.selectorLabels" . | fromYaml) -}}
{{- range .Values.topologySpreadConstraints }}
- {{ toYaml (ternary . (set (deepCopy .) "labelSelector" $selector) (hasKey . "labelSelector")) | nindent 2 | trim }}
{{- end }}
{{- end }}
