"""A wrong value is refused before anything is installed, with its name."""

from typing import Any

import pytest
from tests.helm.running import HELMS, kind, refusal, rendered

pytestmark = pytest.mark.cluster

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"replicaCuont": 2}, "replicaCuont"),
    ({"replicaCount": "two"}, "/replicaCount"),
    ({"image": {"tag": 1.1}}, "/image/tag"),
    ({"image": {"digest": "abc"}}, "/image/digest"),
    ({"placement": "daemonset"}, "/placement"),
    ({"config": {"models": {"coder": {"versoin": "13b"}}}}, "versoin"),
    ({"config": {"models": {"coder": {"version": 13}}}}, "/config/models/coder/version"),
    ({"config": {"timeouts": {"stream": "soon"}}}, "/config/timeouts/stream"),
    ({"config": {"catalogue": {}}}, "catalogue"),
    ({"config": {"watch": "poll"}}, "/config/watch"),
    ({"discovery": {"mode": "consul"}}, "/discovery/mode"),
    ({"discovery": {"port": 70000}}, "/discovery/port"),
    ({"service": {"port": "http"}}, "/service/port"),
    ({"ports": {"api": 80}}, "/ports/api"),
    ({"extraEnv": [{"value": "x"}]}, "/extraEnv/0"),
    ({"ingress": {"hosts": ["a.example"]}}, "/ingress/hosts/0"),
    ({"ollama": {"persistence": {"size": "much"}}}, "/ollama/persistence/size"),
    ({"podDisruptionBudget": {"maxUnavailable": "half"}}, "/podDisruptionBudget/maxUnavailable"),
    ({"httpRoute": {"timeouts": {"request": "never"}}}, "/httpRoute/timeouts/request"),
    ({"autoscaling": {"enabled": True}, "keda": {"enabled": True}}, "keda.enabled"),
    ({"placement": "ollama-sidecar", "discovery": {"mode": "dns"}}, "discovery.mode"),
    ({"ollama": {"enabled": True}, "discovery": {"namespaces": ["gpu"]}}, "discovery.namespaces"),
    ({"discovery": {"mode": "static"}}, "discovery.static"),
    ({"discovery": {"mode": "dns"}, "networkPolicy": {"ollama": {"enabled": True}}}, "networkPolicy.ollama.enabled"),
    ({"tls": {"enabled": True}}, "tls.existingSecret"),
    ({"tls": {"enabled": True, "certManager": {"enabled": True}}}, "tls.certManager.issuerRef.name"),
    ({"tls": {"clientCAKey": "ca.crt"}}, "tls.clientCAKey"),
    ({"tls": {"existingSecret": "tls"}}, "tls.existingSecret"),
    ({"tls": {"certManager": {"enabled": True, "issuerRef": {"name": "a"}}}}, "tls.certManager.enabled"),
    ({"image": {"repository": "registry.example/gateway:1"}}, "/image/repository"),
    ({"global": {"imageRegistry": "https://registry.example"}}, "/global/imageRegistry"),
    ({"image": {"tag": "1@sha256:abc"}}, "/image/tag"),
    ({"image": {"tag": f"1@sha256:{'a' * 64}", "digest": f"sha256:{'b' * 64}"}}, "image.digest"),
    ({"imagePullSecrets": ["a b"]}, "/imagePullSecrets/0"),
    ({"dnsPolicy": "None"}, "dnsConfig.nameservers"),
    ({"dnsPolicy": "Cluster"}, "/dnsPolicy"),
    ({"hostAliases": [{"ip": "10.0.0.9"}]}, "/hostAliases/0"),
    ({"clusterDomain": "Cluster"}, "/clusterDomain"),
    ({"terminationGracePeriodSeconds": 300}, "terminationGracePeriodSeconds"),
    ({"terminationGracePeriodSeconds": 311}, "311 seconds"),
    ({"terminationGracePeriodSeconds": 312, "placement": "ollama-sidecar"}, "terminationGracePeriodSeconds"),
    ({"terminationGracePeriodSeconds": 340, "drain": {"delaySeconds": 60}}, "361 seconds"),
    (
        {"terminationGracePeriodSeconds": 330, "extraEnv": [{"name": "AI_GATEWAY_DRAIN_GRACE", "value": "10m"}]},
        "611 seconds",
    ),
    ({"terminationGracePeriodSeconds": 330, "extraArgs": ["--drain-delay=1.5m"]}, "391 seconds"),
    ({"terminationGracePeriodSeconds": 330, "extraArgs": ["--drain-grace", "1h"]}, "3611 seconds"),
    ({"terminationGracePeriodSeconds": 330, "lifecycle": {"preStop": {"sleep": {"seconds": 30}}}}, "340 seconds"),
    ({"placement": "ollama-sidecar", "lifecycle": {"preStop": {"sleep": {"seconds": 3}}}}, "lifecycle.preStop"),
    ({"autoscaling": {"enabled": True, "minReplicas": 5}}, "autoscaling.maxReplicas"),
    ({"keda": {"enabled": True, "minReplicaCount": 5}}, "keda.maxReplicaCount"),
    ({"ingress": {"enabled": True, "hosts": []}}, "ingress.hosts"),
    ({"service": {"nodePort": 30000}}, "service.nodePort"),
    ({"service": {"externalTrafficPolicy": "Local"}}, "service.externalTrafficPolicy"),
    ({"service": {"loadBalancerClass": "a/b", "type": "NodePort"}}, "service.loadBalancerClass"),
    ({"service": {"loadBalancerSourceRanges": ["10.0.0.0/8"]}}, "service.loadBalancerSourceRanges"),
    ({"config": {"auth": {"methods": ["keys"]}}}, "auth.keysSecret.name"),
    ({"config": {"auth": {"methods": ["password"]}}}, "/config/auth/methods/0"),
    ({"config": {"callers": [{"match": {"user": "x"}}]}}, "user"),
    ({"httpRoute": {"enabled": True}}, "httpRoute.parentRefs"),
    ({"config": {"content": "models: ["}}, "config.content"),
    ({"config": {"content": "models: {a: {}}", "existingConfigMap": "ours"}}, "config.existingConfigMap"),
    ({"config": {"content": "auth: {methods: [keys]}"}}, "auth.keysSecret.name"),
    ({"auth": {"keysSecret": {"name": "ours"}}}, "auth.keysSecret.name"),
    ({"limits": {"redis": {"existingSecret": "ours"}}}, "limits.redis.existingSecret"),
    ({"config": {"audit": {"mode": "sometimes"}}}, "/config/audit/mode"),
    ({"audit": {"persistence": {"accessMode": "ReadWriteMany"}}}, "/audit/persistence/accessMode"),
    ({"audit": {"persistence": {"enabled": True}}, "replicaCount": 2}, "audit.persistence.enabled"),
    ({"audit": {"persistence": {"enabled": True}}, "autoscaling": {"enabled": True}}, "audit.persistence.enabled"),
    ({"audit": {"persistence": {"enabled": True}}, "placement": "ollama-sidecar"}, "audit.persistence.enabled"),
    ({"config": {"log": {"level": "loud"}}}, "/config/log/level"),
    ({"config": {"limits": {"default": {"rpm": 0}}}}, "/config/limits/default/rpm"),
    ({"config": {"limits": {"redis": {"host": "x"}}}}, "/config/limits/redis"),
    ({"limits": {"redis": {"caKey": "ca.crt"}}}, "limits.redis.existingSecret"),
    ({"tracing": {"enabled": True}}, "tracing.endpoint"),
    ({"tracing": {"endpoint": "collector:4318"}}, "/tracing/endpoint"),
    ({"tracing": {"protocol": "zipkin"}}, "/tracing/protocol"),
    ({"tracing": {"sampler": "some"}}, "/tracing/sampler"),
    ({"tracing": {"samplerArg": 0.5}}, "/tracing/samplerArg"),
    ({"metrics": {"otlp": {"enabled": True}}}, "metrics.otlp.endpoint"),
    (
        {"headlessService": {"enabled": True}, "discovery": {"labelSelector": "tier in (a, b)"}},
        "discovery.labelSelector",
    ),
]


@pytest.mark.parametrize(("values", "named"), WRONG, ids=lambda one: one if isinstance(one, str) else "")
def test_a_wrong_value_is_named(values: dict[str, Any], named: str) -> None:
    for version in HELMS:
        assert named in refusal(version, values)


def test_bounds_of_a_part_that_is_off_do_not_apply() -> None:
    """Somebody turned the scaler off and left the rest as it was."""
    for off in ({"autoscaling": {"minReplicas": 5}}, {"keda": {"minReplicaCount": 5}}):
        assert kind(rendered("helm4", values=off), "Deployment")
