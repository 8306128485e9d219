{{/* What cannot be together in a pod, or in the objects around it. */}}

{{/* Two values that cannot both hold. */}}
{{- define "ai-gateway-ollama.pairChecks" -}}
{{- $values := .Values -}}
{{- range $name, $is := dict "tls.existingSecret" $values.tls.existingSecret "tls.certManager.enabled" $values.tls.certManager.enabled -}}
{{- if and $is (not $values.tls.enabled) }}{{ fail (printf "%s: set tls.enabled too" $name) }}{{ end -}}
{{- end -}}
{{- range $name, $pair := dict
  "autoscaling.minReplicas" (list $values.autoscaling.minReplicas "autoscaling.maxReplicas" $values.autoscaling.maxReplicas $values.autoscaling.enabled)
  "keda.minReplicaCount" (list $values.keda.minReplicaCount "keda.maxReplicaCount" $values.keda.maxReplicaCount $values.keda.enabled) -}}
{{- if and (last $pair) (gt (int (first $pair)) (int (index $pair 2))) -}}
{{- fail (printf "%s: %v is more than %s, which is %v" $name (first $pair) (index $pair 1) (index $pair 2)) -}}
{{- end -}}
{{- end -}}
{{- if and $values.ingress.enabled (not $values.ingress.hosts) -}}
{{- fail "ingress.hosts: name a host, or only a path, as `[{paths: [{path: /}]}]`" -}}
{{- end -}}
{{- range $name := list "nodePort" "externalTrafficPolicy" -}}
{{- if and (index $values.service $name) (eq $values.service.type "ClusterIP") -}}
{{- fail (printf "service.%s: set service.type to NodePort or LoadBalancer; it is ClusterIP" $name) -}}
{{- end -}}
{{- end -}}
{{- range $name := list "loadBalancerClass" "loadBalancerSourceRanges" -}}
{{- if and (index $values.service $name) (ne $values.service.type "LoadBalancer") -}}
{{- fail (printf "service.%s: set service.type to LoadBalancer; it is %s" $name $values.service.type) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "ai-gateway-ollama.podChecks" -}}
{{- $leaving := include "ai-gateway-ollama.leavingSeconds" . | int -}}
{{- if le (include "ai-gateway-ollama.gracePeriod" . | int) $leaving -}}
{{- fail (printf "terminationGracePeriodSeconds: %v is too short, and Kubernetes would cut running answers: take more than %d seconds, the sum of drain.delaySeconds, drain.graceSeconds and the pause before them" .Values.terminationGracePeriodSeconds $leaving) -}}
{{- end -}}
{{- if and (eq .Values.dnsPolicy "None") (not (index .Values.dnsConfig "nameservers")) -}}
{{- fail "dnsConfig.nameservers: name at least one, because dnsPolicy is None" -}}
{{- end -}}
{{- include "ai-gateway-ollama.portChecks" . -}}
{{- include "ai-gateway-ollama.containerChecks" . -}}
{{- include "ai-gateway-ollama.labelChecks" . -}}
{{- if include "ai-gateway-ollama.isSidecar" . -}}
{{- if hasKey .Values.lifecycle "preStop" -}}
{{- fail "lifecycle.preStop: leave it out, because with placement ollama-sidecar the gateway's own hook drains it" -}}
{{- end -}}
{{- range .Values.extraVolumes -}}
{{- if has .name (list "models" "ollama-tmp") }}{{ fail (printf "extraVolumes: %s is one of Ollama's volumes in this pod (placement ollama-sidecar); take another name" .name) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* The containers of a pod share its ports. */}}
{{- define "ai-gateway-ollama.portChecks" -}}
{{- $taken := dict (toString (int .Values.ports.api)) "ports.api" -}}
{{- $wanted := list (list "ports.admin" .Values.ports.admin) -}}
{{- if include "ai-gateway-ollama.isSidecar" . }}{{ $wanted = append $wanted (list "discovery.port" .Values.discovery.port) }}{{ end -}}
{{- range $one := concat .Values.extraContainers .Values.extraInitContainers -}}
{{- if or (not (has $one $.Values.extraInitContainers)) (eq (default "" $one.restartPolicy) "Always") -}}
{{- range $one.ports -}}
{{- if eq (default "TCP" .protocol) "TCP" }}{{ $wanted = append $wanted (list (printf "container %s" $one.name) .containerPort) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $wanted -}}
{{- $name := first . -}}
{{- $port := toString (int (last .)) -}}
{{- with index $taken $port }}{{ fail (printf "%s: port %s is that of %s in the same pod" $name $port .) }}{{ end -}}
{{- $_ := set $taken $port $name -}}
{{- end -}}
{{- end }}

{{/* No two containers of a pod have one name. */}}
{{- define "ai-gateway-ollama.containerChecks" -}}
{{- $taken := dict "gateway" "the gateway" -}}
{{- if include "ai-gateway-ollama.isSidecar" . }}{{ $taken = merge $taken (dict "ollama" "Ollama" "pull" "the pull of models") }}{{ end -}}
{{- range $value, $containers := dict "extraContainers" .Values.extraContainers "extraInitContainers" .Values.extraInitContainers -}}
{{- range $containers -}}
{{- $name := default "" .name -}}
{{- if index $taken $name }}{{ fail (printf "%s: %q is the name of %s in the same pod; take another" $value $name (index $taken $name)) }}{{ end -}}
{{- $_ := set $taken $name (printf "another container of %s" $value) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Labels that select the pods cannot be another's. */}}
{{- define "ai-gateway-ollama.labelChecks" -}}
{{- $gateways := include "ai-gateway-ollama.selectorLabels" . | fromYaml -}}
{{- $ollamas := include "ai-gateway-ollama.ollamaSelectorLabels" . | fromYaml -}}
{{- range $value, $pair := dict "podLabels" (list .Values.podLabels $gateways) "ollama.podLabels" (list .Values.ollama.podLabels $ollamas) -}}
{{- range $name, $label := first $pair -}}
{{- $own := index (last $pair) $name -}}
{{- if and $own (ne $own $label) }}{{ fail (printf "%s: %s is %q, and the chart selects its pods by it; leave it out" $value $name $own) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- end }}
