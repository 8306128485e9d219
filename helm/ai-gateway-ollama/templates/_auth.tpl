{{/* Who is let in: what the values say of it, and what that needs around the gateway. */}}

{{/* The section of config.yml; the file of keys is where the chart mounts it. */}}
{{- define "ai-gateway-ollama.auth" -}}
{{- $auth := merge (deepCopy (default (dict) .Values.config.auth)) (dict "methods" (list "none")) -}}
{{- if and (has "keys" (default list $auth.methods)) (not $auth.keys_file) .Values.auth.keysSecret.name -}}
{{- $_ := set $auth "keys_file" "/etc/ai-gateway-keys/keys.yaml" -}}
{{- end -}}
{{- toYaml $auth }}
{{- end }}

{{/* The methods that the chart can see, as a JSON list: none where the ConfigMap is somebody else's. */}}
{{- define "ai-gateway-ollama.authMethods" -}}
{{- $methods := list -}}
{{- if not .Values.config.existingConfigMap -}}
{{- $methods = dig "auth" "methods" list (include "ai-gateway-ollama.parsedConfig" . | fromJson) -}}
{{- end -}}
{{- toJson $methods }}
{{- end }}

{{- define "ai-gateway-ollama.reviewsTokens" -}}
{{- if or .Values.auth.tokenReview (has "kubernetes" (include "ai-gateway-ollama.authMethods" . | fromJsonArray)) }}true{{ end }}
{{- end }}

{{/* Ports of the issuer of OIDC tokens and of its keys, as a JSON list. */}}
{{- define "ai-gateway-ollama.issuerPorts" -}}
{{- $ports := list -}}
{{- if has "oidc" (include "ai-gateway-ollama.authMethods" . | fromJsonArray) -}}
{{- $oidc := dig "auth" "oidc" dict (include "ai-gateway-ollama.parsedConfig" . | fromJson) -}}
{{- range $url := list $oidc.issuer (default $oidc.issuer $oidc.jwks_url) -}}
{{- $host := (urlParse (toString $url)).host -}}
{{- $ports = append $ports (ternary (regexFind "[0-9]+$" $host | int) 443 (regexMatch ":[0-9]+$" $host)) -}}
{{- end -}}
{{- end -}}
{{- toJson ($ports | uniq) }}
{{- end }}
