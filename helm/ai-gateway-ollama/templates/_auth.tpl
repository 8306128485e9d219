{{/* Who is let in: what the values say of it, and what that needs around the gateway. */}}

{{/* The methods that the values say, as a JSON list; with a ConfigMap of one's own it must say them, too. */}}
{{- define "ai-gateway-ollama.authMethods" -}}
{{- dig "auth" "methods" list (include "ai-gateway-ollama.once" (list . "parsedConfig") | fromJson) | toJson }}
{{- end }}

{{- define "ai-gateway-ollama.reviewsTokens" -}}
{{- if or .Values.auth.tokenReview (has "kubernetes" (include "ai-gateway-ollama.authMethods" . | fromJsonArray)) }}true{{ end }}
{{- end }}

{{/* Ports of the issuer of OIDC tokens and of its keys, as a JSON list. */}}
{{- define "ai-gateway-ollama.issuerPorts" -}}
{{- $ports := list -}}
{{- if has "oidc" (include "ai-gateway-ollama.authMethods" . | fromJsonArray) -}}
{{- $oidc := dig "auth" "oidc" dict (include "ai-gateway-ollama.once" (list . "parsedConfig") | fromJson) -}}
{{- range $url := list $oidc.issuer (default $oidc.issuer $oidc.jwks_url) -}}
{{- $host := (urlParse (toString $url)).host -}}
{{- $ports = append $ports (ternary (regexFind "[0-9]+$" $host | int) 443 (regexMatch ":[0-9]+$" $host)) -}}
{{- end -}}
{{- end -}}
{{- toJson ($ports | uniq) }}
{{- end }}
