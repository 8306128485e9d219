{{/* `config.content`, the whole file as text: how it is read, and how what it lacks comes into it. */}}

{{/* The text, up to its last line that says something: what ends a document would part it from what follows. */}}
{{- define "ai-gateway-ollama.content" -}}
{{- regexReplaceAllLiteral "(?:\\n(?:---|\\.\\.\\.)?[ \\t\\r]*)+$" (default "" .Values.config.content) "" }}
{{- end }}

{{/* Its sections as JSON, an empty object where there is no content. Fails with what the gateway would refuse. */}}
{{- define "ai-gateway-ollama.contentSections" -}}
{{- $text := include "ai-gateway-ollama.content" . -}}
{{- $sections := $text | fromYaml -}}
{{- if .Values.config.content -}}
{{- with $sections.Error }}{{ fail (printf "config.content: %s" .) }}{{ end -}}
{{- if not $sections }}{{ fail "config.content: is empty: set at least one key, such as `models`" }}{{ end -}}
{{- if regexMatch "(?m)^(?:[ \\t]*[^ \\t\\r\\n#%-]|---[ \\t]+[^ \\t\\r\\n#])(?:.*\\n)+?(?:---|\\.\\.\\.)(?:\\s|$)" $text -}}
{{- fail "config.content: a second document begins, and a config is one" -}}
{{- end -}}
{{- include "ai-gateway-ollama.refuseRest" (dict "text" $text "sections" $sections) -}}
{{- $off := dict "auth" "auth: {methods: [none]}" "callers" "callers: all" "limits" "limits: none" -}}
{{- range $name, $line := $off -}}
{{- if and (hasKey $sections $name) (kindIs "invalid" (get $sections $name)) -}}
{{- fail (printf "config.content: %s is empty: give it a value, or turn it off with `%s`" $name $line) -}}
{{- end -}}
{{- end -}}
{{- include "ai-gateway-ollama.refuseShapes" $sections -}}
{{- include "ai-gateway-ollama.refuseDoubled" (dict "text" $text "sections" $sections) -}}
{{- end -}}
{{- toJson $sections }}
{{- end }}

{{/* Fails where something follows the mapping: Helm reads no further, as after `{models: {}}`, and the gateway takes none
of it. As a part of another file the text has to be read to its end. */}}
{{- define "ai-gateway-ollama.refuseRest" -}}
{{- $body := regexReplaceAllLiteral "^\\x{FEFF}?(?:(?:[ \\t]*(?:#.*)?|%.*)\\r?\\n)*---([ \\t\\r\\n]|$)" .text "\n" | trimPrefix "\ufeff" -}}
{{- $part := regexReplaceAllLiteral "\r\n?|[\u0085\u2028\u2029]" $body "\n" | indent 1 | printf "part:\n%s" | fromYaml -}}
{{- if ne (toJson $part.part) (toJson .sections) -}}
{{- fail "config.content: something follows the end of its sections, such as a line that is less indented, or one after a closing brace" -}}
{{- end -}}
{{- end }}

{{/* Fails where a section that the chart itself reads is something else than the gateway takes. */}}
{{- define "ai-gateway-ollama.refuseShapes" -}}
{{- $words := dict "callers" "all" "limits" "none" "tls" "none" -}}
{{- range $name := list "auth" "callers" "limits" "audit" "tls" "discovery" "models" -}}
{{- $section := get $ $name -}}
{{- $isThere := include "ai-gateway-ollama.says" (list $ $name) -}}
{{- if and $isThere (not (kindIs (ternary "slice" "map" (eq $name "callers")) $section)) (ne (toString $section) (get $words $name | default "-")) -}}
{{- fail (printf "config.content: %s: %v is not allowed here" $name $section) -}}
{{- end -}}
{{- end -}}
{{- if and .auth (not (kindIs "slice" .auth.methods)) }}{{ fail "config.content: auth.methods: is no list" }}{{ end -}}
{{- $sections := dict -}}
{{- range $id, $model := .models -}}
{{- $_ := set $sections (printf "models.%s" $id) $model -}}
{{- if kindIs "map" $model -}}
{{- if not (kindIs "string" (default "" $model.ollama)) }}{{ fail (printf "config.content: models.%s.ollama: %v is no text; put it in quotes" $id $model.ollama) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- if kindIs "slice" .callers }}{{ range $at, $one := .callers }}{{ $_ := set $sections (printf "callers[%d]" $at) $one }}{{ end }}{{ end -}}
{{- if kindIs "map" .limits }}{{ $_ := set $sections "limits.redis" .limits.redis }}{{ end -}}
{{- if kindIs "map" .auth }}{{ $_ := set $sections "auth.oidc" .auth.oidc }}{{ end -}}
{{- range $path, $one := $sections -}}
{{- if not (or (kindIs "map" $one) (kindIs "invalid" $one)) }}{{ fail (printf "config.content: %s: is no section" $path) }}{{ end -}}
{{- end -}}
{{- end }}

{{/* Fails where a section stands twice: Helm would take the last one, and the gateway takes none. */}}
{{- define "ai-gateway-ollama.refuseDoubled" -}}
{{- if not (regexMatch "^(?:[ \\t]*(?:#.*)?\\r?\\n|---\\s*)*\\{" .text) -}}
{{- range $name := keys .sections -}}
{{- if gt (len (regexFindAll (printf "(?m)^[\"']?%s[\"']?[ \\t]*:" (regexQuoteMeta $name)) $.text -1)) 1 -}}
{{- fail (printf "config.content: key %q stands twice" $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Fails where any key stands twice, which a text that is written anew would hide from the gateway. Call with
(dict "text" TEXT "sections" SECTIONS). */}}
{{- define "ai-gateway-ollama.refuseHidden" -}}
{{- $text := regexReplaceAllLiteral "(?m)(?:^|\\s)#.*$" .text "" -}}
{{- $left := dict -}}
{{- range regexFindAll `"[^"\\]+":` (toJson .sections) -1 -}}
{{- $name := trimAll "\":" . }}{{ $_ := set $left $name (add1 (get $left $name | default 0)) -}}
{{- end -}}
{{- range regexFindAll `(?m)(?:^|[\s{,])[^\s{}\[\],"']+[ \t]*:(?:\s|$)|"[^"]+"[ \t]*:|'[^']+'[ \t]*:` $text -1 -}}
{{- $name := trimAll "\"'{,: \t\r\n" . -}}
{{- if hasKey $left $name -}}
{{- if eq (get $left $name | int) 0 }}{{ fail (printf "config.content: key %q stands twice" $name) }}{{ end -}}
{{- $_ := set $left $name (sub (get $left $name) 1) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/*
The text with what it lacks. Call with (dict "text" TEXT "has" SECTIONS "wants" SECTIONS). Sections that it does not have
stand at its end, those that got a key are written anew in their place, and the rest stays to the letter. Where that
would not read as what is wanted (JSON, aliases, which the gateway refuses, or an indented file) all is written anew.
*/}}
{{- define "ai-gateway-ollama.completed" -}}
{{- $text := .text -}}
{{- $missing := dict -}}
{{- $isWhole := not (regexMatch "(?m)(?:: +|^ *- +|[\\[,{] *)\\*[A-Za-z0-9]|<<: " (regexReplaceAllLiteral "(?m)(?:^|\\s)#.*$" .text "")) -}}
{{- range $name, $section := .wants -}}
{{- if not (hasKey $.has $name) -}}
{{- $_ := set $missing $name $section -}}
{{- else if ne (toJson $section) (toJson (get $.has $name)) -}}
{{- $anew := toYaml (dict $name $section) -}}
{{- $text = regexReplaceAllLiteral (printf "(?m)^%s:.*(?:(?:\\n[ \\t\\r]*(?:#.*)?)*\\n[ \\t-].*)*" (regexQuoteMeta $name)) $text $anew -}}
{{- end -}}
{{- end -}}
{{- $isKept := and $isWhole (eq $text .text) -}}
{{- with $missing }}{{ $text = printf "%s\n%s" $text (toYaml .) }}{{ end -}}
{{- $reads := eq (toJson (fromYaml $text)) (toJson .wants) -}}
{{- if not (and $isKept $reads) }}{{ include "ai-gateway-ollama.refuseHidden" (dict "text" .text "sections" .has) }}{{ end -}}
{{- if and $isWhole $reads -}}
{{- $text }}
{{- else -}}
# Written anew from config.content, with what other values say.
{{ toYaml .wants }}
{{- end -}}
{{- end }}

{{/* What a value means, to compare: `60s` is `1m`, and nothing is an empty section. Call with (dict "of" VALUE). */}}
{{- define "ai-gateway-ollama.plain" -}}
{{- if kindIs "map" .of -}}
{{- $parts := dict -}}
{{- range $name, $one := .of }}{{ $_ := set $parts (toString $name) (include "ai-gateway-ollama.plain" (dict "of" $one)) }}{{ end -}}
{{- toJson $parts | sha256sum }}
{{- else if kindIs "slice" .of -}}
{{- $parts := list -}}
{{- range .of }}{{ $parts = append $parts (include "ai-gateway-ollama.plain" (dict "of" .)) }}{{ end -}}
{{- toJson $parts | sha256sum }}
{{- else if kindIs "invalid" .of -}}
{{- toJson dict | sha256sum }}
{{- else if and (kindIs "string" .of) (regexMatch "^[0-9]+(\\.[0-9]+)?(ms|s|m|h|d)$" .of) -}}
{{- $units := dict "ms" 0.001 "s" 1 "m" 60 "h" 3600 "d" 86400 -}}
{{- mulf (regexFind "^[0-9.]+" .of | float64) (get $units (regexFind "[a-z]+$" .of)) | toJson }}
{{- else if and (kindIs "string" .of) (regexMatch "^[0-9]+(B|KiB|MiB|GiB|KB|MB|GB)$" .of) -}}
{{- $units := dict "B" 1 "KiB" 1024 "MiB" 1048576 "GiB" 1073741824 "KB" 1000 "MB" 1000000 "GB" 1000000000 -}}
{{- mul (regexFind "^[0-9]+" .of | int64) (get $units (regexFind "[A-Za-z]+$" .of)) | toJson }}
{{- else -}}
{{- toJson .of }}
{{- end -}}
{{- end }}

{{/* What protects is never turned off by absence: fails where the live file has it on, and neither a new `config.content`
nor other values have a word about it. Call with (dict "root" $ "held" LIVE TEXT). */}}
{{- define "ai-gateway-ollama.refuseAbsence" -}}
{{- $values := .root.Values -}}
{{- $live := include "ai-gateway-ollama.meaning" .held | fromJson -}}
{{- $new := include "ai-gateway-ollama.once" (list .root "parsedConfig") | fromJson -}}
{{- $content := include "ai-gateway-ollama.once" (list .root "contentSections") | fromJson -}}
{{- $off := dict "auth" "auth: {methods: [none]}" "callers" "callers: all" "limits" "limits: none" "audit" "audit: {mode: best_effort}" "tls" "tls: none" -}}
{{- $wasOfValues := hasPrefix "/etc/ai-gateway-tls/" (toString (include "ai-gateway-ollama.part" (list $live "tls") | fromJson).certificate) -}}
{{- range $name, $line := $off -}}
{{- $isOff := and (hasKey $live $name) (not (hasKey $new $name)) -}}
{{- if and $values.config.content $isOff (not (hasKey $content $name)) (not (and (eq $name "tls") $wasOfValues)) -}}
{{- fail (printf "config.content: %s is in force in the ConfigMap, and leaving it out does not turn it off: to turn it off write `%s`, or set config.%s" $name $line $name) -}}
{{- end -}}
{{- end -}}
{{- end }}
