{{/* The gateway's config.yml: what the values say, what the cluster holds, and which of both an upgrade takes. */}}

{{- define "ai-gateway-ollama.configMapName" -}}
{{- default (printf "%s-models" (include "ai-gateway-ollama.fullname" .)) .Values.config.existingConfigMap }}
{{- end }}

{{/* The sections of config.yml that `config` in the values says, as JSON; the chart's defaults say nothing. */}}
{{- define "ai-gateway-ollama.said" -}}
{{- $said := dict -}}
{{- range $name := list "models" "catalog" "timeouts" "balancing" "queue" "polling" "body" "cors" "hosts" "connections" "compatibility" "log" "trusted_proxies" "limits" "audit" -}}
{{- with index $.Values.config $name }}{{ $_ := set $said $name . }}{{ end -}}
{{- end -}}
{{- with .Values.config.reconcile -}}
{{- if ne (toJson .) (toJson (dict "pull" "if_missing")) }}{{ $_ := set $said "reconcile" . }}{{ end -}}
{{- end -}}
{{- with .Values.config.auth -}}
{{- $auth := merge (deepCopy .) (dict "methods" (list "none")) -}}
{{- if ne (toJson $auth) (toJson (dict "methods" (list "none"))) }}{{ $_ := set $said "auth" $auth }}{{ end -}}
{{- end -}}
{{- if kindIs "slice" .Values.config.callers }}{{ $_ := set $said "callers" .Values.config.callers }}{{ end -}}
{{- toJson $said }}
{{- end }}

{{/* Whether a key is there, with a value: an empty list is one, and null is none. Call with (list SECTION KEY). */}}
{{- define "ai-gateway-ollama.says" -}}
{{- if hasKey (first .) (last .) }}{{ if not (kindIs "invalid" (get (first .) (last .))) }}true{{ end }}{{ end -}}
{{- end }}

{{/* A section as JSON: empty where it is not there, or a word that says so. Call with (list CONFIG NAME). */}}
{{- define "ai-gateway-ollama.part" -}}
{{- $section := get (first .) (last .) -}}
{{- ternary $section dict (kindIs "map" $section) | toJson }}
{{- end }}

{{/* Puts a key into the config that is being made, where it may stand already. Call with (dict "config" CONFIG "path"
PATH "value" VALUE "by" NAME "in" WHERE), `by` is the value that wants it. Another value there is refused, but with "yields"
it stays, and with "wins" it goes. */}}
{{- define "ai-gateway-ollama.put" -}}
{{- $names := splitList "." .path -}}
{{- $at := .config -}}
{{- range $name := initial $names -}}
{{- if not (include "ai-gateway-ollama.says" (list $at $name)) }}{{ $_ := set $at $name dict }}{{ end -}}
{{- if not (kindIs "map" (get $at $name)) -}}
{{- fail (printf "%s%s is %q, but %s needs %s: set it in one place only" $.in $name (get $at $name | toString) $.by $.path) -}}
{{- end -}}
{{- $at = get $at $name -}}
{{- end -}}
{{- $last := last $names -}}
{{- if or .wins (not (include "ai-gateway-ollama.says" (list $at $last))) -}}
{{- $_ := set $at $last .value -}}
{{- else if and (not .yields) (ne (include "ai-gateway-ollama.plain" (dict "of" .value)) (include "ai-gateway-ollama.plain" (dict "of" (get $at $last)))) -}}
{{- fail (printf "%s%s is set, and %s sets something else: set it in one place only" .in .path .by) -}}
{{- end -}}
{{- end }}

{{/* What values outside `config` want in the file, as a JSON list of what `put` is called with. */}}
{{- define "ai-gateway-ollama.files" -}}
{{- $puts := list -}}
{{- if .Values.tls.enabled -}}
{{- $puts = append $puts (dict "path" "tls.certificate" "value" "/etc/ai-gateway-tls/tls.crt" "by" "tls.enabled") -}}
{{- $puts = append $puts (dict "path" "tls.key" "value" "/etc/ai-gateway-tls/tls.key" "by" "tls.enabled") -}}
{{- with .Values.tls.clientCAKey -}}
{{- $puts = append $puts (dict "path" "tls.client_ca" "value" (printf "/etc/ai-gateway-tls/%s" .) "by" "tls.clientCAKey") -}}
{{- end -}}
{{- end -}}
{{- if and .Values.auth.keysSecret.name (has "keys" .methods) -}}
{{- $puts = append $puts (dict "path" "auth.keys_file" "value" "/etc/ai-gateway-keys/keys.yaml" "by" "auth.keysSecret.name") -}}
{{- end -}}
{{- with .Values.limits.redis -}}
{{- if and $.redis .existingSecret -}}
{{- $puts = append $puts (dict "path" "limits.redis.password_file" "value" (printf "/etc/ai-gateway-redis/%s" .passwordKey) "by" "limits.redis.existingSecret") -}}
{{- with .caKey -}}
{{- $puts = append $puts (dict "path" "limits.redis.ca_file" "value" (printf "/etc/ai-gateway-redis/%s" .) "by" "limits.redis.caKey") -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if .Values.audit.postgresql.existingSecret -}}
{{- $puts = append $puts (dict "path" "audit.store" "value" "postgresql" "by" "audit.postgresql.existingSecret") -}}
{{- $puts = append $puts (dict "path" "audit.dsn_file" "value" "/etc/ai-gateway-postgresql/dsn" "by" "audit.postgresql.existingSecret") -}}
{{- end -}}
{{- if .Values.audit.key.existingSecret -}}
{{- $puts = append $puts (dict "path" "audit.key_file" "value" "/etc/ai-gateway-audit/key" "by" "audit.key.existingSecret") -}}
{{- end -}}
{{- toJson $puts }}
{{- end }}

{{/* Puts what `discovery` in the values says into the config. Call with (dict "root" $ "config" CONFIG "in" WHERE). */}}
{{- define "ai-gateway-ollama.putDiscovery" -}}
{{- $values := .root.Values.discovery -}}
{{- $by := dict "mode" "discovery.mode" "service" "discovery.serviceName" "name" "discovery.serviceName" "namespaces" "discovery.namespaces" "label_selector" "discovery.labelSelector" "port_name" "discovery.portName" "port" "discovery.port" -}}
{{- $yields := dict "service" (not $values.serviceName) "name" (not $values.serviceName) "label_selector" (not $values.labelSelector) "port" (eq (int $values.port) 11434) -}}
{{- range $source, $said := include "ai-gateway-ollama.discovery" .root | fromYaml -}}
{{- $call := dict "config" $.config "in" $.in "by" "discovery.mode" -}}
{{- if kindIs "map" $.config.discovery -}}
{{- range $other, $there := omit $.config.discovery $source -}}
{{- if not (kindIs "invalid" $there) -}}
{{- fail (printf "%sdiscovery.%s is set, but discovery in the values (mode %s) sets discovery.%s: set it in one place only" $.in $other $values.mode $source) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if kindIs "map" $said -}}
{{- range $key, $value := $said -}}
{{- include "ai-gateway-ollama.put" (merge (dict "path" (printf "discovery.%s.%s" $source $key) "value" $value "by" (get $by $key) "yields" (get $yields $key)) $call) -}}
{{- end -}}
{{- else -}}
{{- include "ai-gateway-ollama.put" (merge (dict "path" (printf "discovery.%s" $source) "value" $said "by" (printf "discovery.%s" $source)) $call) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/*
The whole config as JSON: what `config.content` says, what `config` says beside it, and what other values want in it.
Where two of them say the same thing in different ways nothing is rendered.
*/}}
{{- define "ai-gateway-ollama.sections" -}}
{{- include "ai-gateway-ollama.sectionsWith" (dict "root" . "content" (include "ai-gateway-ollama.once" (list . "contentSections") | fromJson)) }}
{{- end }}

{{/* The same with that content. Call with (dict "root" $ "content" SECTIONS). */}}
{{- define "ai-gateway-ollama.sectionsWith" -}}
{{- $content := .content -}}
{{- $config := include "ai-gateway-ollama.joined" . | fromJson -}}
{{- $in := ternary "config.content: " "config." (not (empty $content)) -}}
{{- $methods := (include "ai-gateway-ollama.part" (list $config "auth") | fromJson).methods -}}
{{- $redis := (include "ai-gateway-ollama.part" (list $config "limits") | fromJson).redis -}}
{{- range include "ai-gateway-ollama.files" (dict "Values" .root.Values "methods" (default list $methods) "redis" $redis) | fromJsonArray -}}
{{- /* Within the values where files are mounted overrides `config`, except for your own keys. */}}
{{- $isOwn := eq .path "auth.keys_file" -}}
{{- $isText := hasKey $content (splitList "." .path | first) -}}
{{- include "ai-gateway-ollama.put" (merge . (dict "config" $config "in" $in "wins" (not (or $isText $isOwn)) "yields" (and $isOwn (not $isText)))) -}}
{{- end -}}
{{- include "ai-gateway-ollama.putDiscovery" (dict "root" .root "config" $config "in" $in) -}}
{{- /* What is off is written, too: a reload that only leaves it out is refused where it was on before. */ -}}
{{- $off := dict "auth" (dict "methods" (list "none")) "callers" "all" "limits" "none" "audit" dict "tls" "none" -}}
{{- range $name, $word := $off }}{{ if not (hasKey $config $name) }}{{ $_ := set $config $name $word }}{{ end }}{{ end -}}
{{- if not (hasKey $config "reconcile") }}{{ $_ := set $config "reconcile" (dict "pull" "if_missing") }}{{ end -}}
{{- if and (not (hasKey $content "audit")) (not (hasKey $config.audit "mode")) }}{{ $_ := set $config.audit "mode" "best_effort" }}{{ end -}}
{{- if include "ai-gateway-ollama.discoversModels" .root }}{{ $_ := set $config "catalog" (merge (dict "discover" true) (default dict $config.catalog)) }}{{ end -}}
{{- toJson $config }}
{{- end }}

{{/* The content, and what `config` says beside it, as JSON. A section of both is either what `config` says, or what the
chart makes of that: so the text that the chart wrote is no other one. Call with (dict "root" $ "content" SECTIONS). */}}
{{- define "ai-gateway-ollama.joined" -}}
{{- $config := deepCopy .content -}}
{{- $written := dict -}}
{{- if $config }}{{ $written = include "ai-gateway-ollama.sectionsWith" (dict "root" .root "content" dict) | fromJson }}{{ end -}}
{{- range $name, $section := include "ai-gateway-ollama.said" .root | fromJson -}}
{{- if not (include "ai-gateway-ollama.says" (list $config $name)) -}}
{{- $_ := set $config $name $section -}}
{{- else -}}
{{- $meaning := include "ai-gateway-ollama.plain" (dict "of" (get $config $name)) -}}
{{- $said := list (include "ai-gateway-ollama.plain" (dict "of" $section)) (include "ai-gateway-ollama.plain" (dict "of" (get $written $name))) -}}
{{- if not (has $meaning $said) -}}
{{- fail (printf "config.content: it has %q, and config.%s says something else: set it in one place only (`--set config.%s=null` leaves it to the content)" $name $name $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $config }}
{{- end }}

{{/* Whether the chart has every model served that an Ollama holds: only while the values name none. */}}
{{- define "ai-gateway-ollama.discoversModels" -}}
{{- $config := .Values.config -}}
{{- $word := include "ai-gateway-ollama.says" (list (default dict $config.catalog) "discover") -}}
{{- if not (or $config.models $config.content $config.existingConfigMap $word) }}true{{ end -}}
{{- end }}

{{/* config.yml as the values say it. */}}
{{- define "ai-gateway-ollama.chartConfig" -}}
{{- $sections := include "ai-gateway-ollama.once" (list . "sections") | fromJson -}}
{{- if .Values.config.content -}}
{{- $has := include "ai-gateway-ollama.once" (list . "contentSections") | fromJson -}}
{{- include "ai-gateway-ollama.completed" (dict "text" (include "ai-gateway-ollama.content" .) "has" $has "wants" $sections) }}
{{- else -}}
# Every key: the gateway's docs/configuration.md. A change takes effect at once. If you make a mistake, the gateway keeps
# the last good config.
{{- if include "ai-gateway-ollama.discoversModels" . }}
# You name no model, so the gateway serves every model that an Ollama holds. To serve only some, name them and remove
# `catalog`. Each can have its own settings and limits: `models: {llama3: {}, coder: {ollama: codellama, version: 13b}}`
{{- end }}
{{- with $sections.models }}
models:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{ toYaml (omit $sections "models") }}
{{- end }}
{{- end }}

{{/* What a config.yml means, as JSON: the words for off mean the same as no word at all. Call with its text. */}}
{{- define "ai-gateway-ollama.meaning" -}}
{{- $config := . | fromYaml -}}
{{- if eq (toJson $config.auth) "{\"methods\":[\"none\"]}" }}{{ $_ := unset $config "auth" }}{{ end -}}
{{- if eq (toString $config.callers) "all" }}{{ $_ := unset $config "callers" }}{{ end -}}
{{- if or (not $config.limits) (eq (toString $config.limits) "none") }}{{ $_ := unset $config "limits" }}{{ end -}}
{{- if eq (toString $config.tls) "none" }}{{ $_ := unset $config "tls" }}{{ end -}}
{{- if kindIs "map" $config.audit -}}
{{- if eq (toString $config.audit.mode) "best_effort" }}{{ $_ := unset $config.audit "mode" }}{{ end -}}
{{- if not $config.audit }}{{ $_ := unset $config "audit" }}{{ end -}}
{{- end -}}
{{- toJson $config }}
{{- end }}

{{/* config.yml as the values say it, read: as JSON, with nothing in place of what is off. */}}
{{- define "ai-gateway-ollama.parsedConfig" -}}
{{- include "ai-gateway-ollama.meaning" (include "ai-gateway-ollama.once" (list . "chartConfig")) }}
{{- end }}

{{/* How the API port is spoken to: by `tls.enabled`, or by a certificate that `config.content` brings. */}}
{{- define "ai-gateway-ollama.scheme" -}}
{{- ternary "https" "http" (not (empty (include "ai-gateway-ollama.once" (list . "parsedConfig") | fromJson).tls)) }}
{{- end }}

{{/* Sections that the file must have, parted by commas: those that the values turn on, and those that somebody named. An
empty list is a word: none. */}}
{{- define "ai-gateway-ollama.required" -}}
{{- $named := .Values.config.require -}}
{{- $config := include "ai-gateway-ollama.once" (list . "parsedConfig") | fromJson -}}
{{- if or .Values.auth.keysSecret.name .Values.auth.tokenReview }}{{ $_ := set $config "auth" "needed" }}{{ end -}}
{{- if .Values.limits.redis.existingSecret }}{{ $_ := set $config "limits" "needed" }}{{ end -}}
{{- $names := list -}}
{{- range list "auth" "callers" "limits" "audit" "tls" -}}
{{- if or (hasKey $config .) (has . (default list $named)) }}{{ $names = append $names . }}{{ end -}}
{{- end -}}
{{- if and (kindIs "slice" $named) (not $named) }}{{ $names = list }}{{ end -}}
{{- join "," $names }}
{{- end }}

{{/* A hash of what a config.yml means, whatever its comments and the order of its keys. Call with its text. */}}
{{- define "ai-gateway-ollama.configHash" -}}
{{- include "ai-gateway-ollama.meaning" . | sha256sum | trunc 16 }}
{{- end }}

{{/* What earlier charts remembered of the same values, as a JSON list: they had no `reconcile`, and without models three
examples. Only an edit of these is of interest. */}}
{{- define "ai-gateway-ollama.formerHashes" -}}
{{- $hashes := list -}}
{{- if not (hasKey (include "ai-gateway-ollama.said" . | fromJson) "reconcile") -}}
{{- $former := omit (include "ai-gateway-ollama.once" (list . "chartConfig") | fromYaml) "reconcile" -}}
{{- $hashes = append $hashes (include "ai-gateway-ollama.configHash" (toJson $former)) -}}
{{- if include "ai-gateway-ollama.discoversModels" . -}}
{{- $examples := dict "llama3" (dict "version" "latest") "coder" (dict "ollama" "codellama" "version" "13b" "max_tokens" 2048 "aliases" (list "code")) "embed" (dict "ollama" "nomic-embed-text" "version" "latest") -}}
{{- $hashes = append $hashes (include "ai-gateway-ollama.configHash" (merge (dict "models" $examples) (omit $former "catalog") | toJson)) -}}
{{- end -}}
{{- end -}}
{{- toJson $hashes }}
{{- end }}

{{- define "ai-gateway-ollama.hashAnnotation" -}}ai-gateway-ollama/values-hash{{- end }}

{{/*
What the ConfigMap shall hold, as JSON: `content`, `hash` (of what the values say), `replaced` (an edit that gives way,
kept beside it) and `outcome` for NOTES.

A person may have edited the live ConfigMap. The live text stays as long as the values say what they said at the last
release, which an annotation remembers as a hash, and where both mean the same: an edit owns its text, and Helm 4 would
refuse another one. Where nothing can be looked up (helm template, Argo CD, the first install) the values decide.
*/}}
{{- define "ai-gateway-ollama.config" -}}
{{- $key := .Values.config.key -}}
{{- $chart := include "ai-gateway-ollama.once" (list . "chartConfig") -}}
{{- $hash := include "ai-gateway-ollama.configHash" $chart -}}
{{- $live := lookup "v1" "ConfigMap" (include "ai-gateway-ollama.namespace" .) (include "ai-gateway-ollama.configMapName" .) -}}
{{- $held := dig "data" $key "" $live -}}
{{- $replaced := dig "data" (printf "%s.replaced" $key) "" $live -}}
{{- $remembered := dig "metadata" "annotations" (include "ai-gateway-ollama.hashAnnotation" .) "" $live -}}
{{- /* `config.key` has changed: an edit moves along. */ -}}
{{- $texts := list -}}
{{- range $name, $text := dig "data" dict $live }}{{ if not (hasSuffix ".replaced" $name) }}{{ $texts = append $texts $text }}{{ end }}{{ end -}}
{{- if and $remembered (not $held) (eq (len $texts) 1) }}{{ $held = first $texts }}{{ end -}}
{{- $result := dict "content" (printf "%s\n" $chart) "hash" $hash "replaced" $replaced "outcome" "values" -}}
{{- if $held -}}
{{- $meaning := include "ai-gateway-ollama.configHash" $held -}}
{{- $isAsBefore := or (eq $remembered $hash) (and (ne $meaning $remembered) (has $remembered (include "ai-gateway-ollama.formerHashes" . | fromJsonArray))) -}}
{{- if and $remembered (not $isAsBefore) (ne $meaning $hash) -}}
{{- include "ai-gateway-ollama.refuseAbsence" (dict "root" . "held" $held) -}}
{{- if ne $meaning $remembered -}}
{{- $_ := set $result "outcome" "replaced" -}}
{{- $_ := set $result "replaced" $held -}}
{{- end -}}
{{- else -}}
{{- $_ := set $result "content" $held -}}
{{- if not $remembered -}}
{{- $_ := set $result "outcome" "unknown" -}}
{{- else if ne $meaning $hash -}}
{{- $_ := set $result "outcome" "kept" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $result }}
{{- end }}
