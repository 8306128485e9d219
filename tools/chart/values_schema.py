"""values.schema.json, made from values.yaml, the gateway's own config.schema.json, and what only this page knows."""

import json
from functools import cache
from typing import Any

from tools.chart.files import ROOT, defaults, documented_values

from ai_gateway.config.sections import OFF

Schema = dict[str, Any]

FREE: Schema = {"type": "object"}  # what Kubernetes itself says the shape of
OBJECTS: Schema = {"type": "array", "items": FREE}
TEXTS: Schema = {"type": "array", "items": {"type": "string"}}
PORT: Schema = {"type": "integer", "minimum": 1, "maximum": 65535}
COUNT: Schema = {"type": "integer", "minimum": 0}
POSITIVE: Schema = {"type": "integer", "minimum": 1}
AMOUNT: Schema = {"type": ["integer", "string", "null"], "pattern": "^[0-9]+%?$", "minimum": 0}
DIGEST: Schema = {"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"}
TAG: Schema = {"type": "string", "pattern": "^[A-Za-z0-9_.-]*(@sha256:[0-9a-f]{64})?$"}
REGISTRY: Schema = {"type": "string", "pattern": "^([^/:@ ]+(:[0-9]+)?(/[^:@ ]*)?)?$"}
REPOSITORY: Schema = {"type": "string", "minLength": 1, "pattern": "^([^/:@ ]+(:[0-9]+)?/)?[^:@ ]+$"}
NAME: Schema = {"type": "string", "pattern": "^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$", "maxLength": 253}
STRINGS: Schema = {"type": "object", "additionalProperties": {"type": ["string", "null"]}}
URL: Schema = {"type": "string", "pattern": "^(https?://[^/?#]+.*)?$"}
PERCENT: Schema = {"type": ["integer", "null"], "minimum": 1}
GO_DURATION: Schema = {"type": "string", "pattern": "^([0-9]+(ms|s|m|h))*$"}
SECRETS: Schema = {
    "type": "array",
    "items": {
        **NAME,
        "type": ["object", "string", "null"],
        "additionalProperties": False,
        "properties": {"name": {**NAME, "type": ["string", "null"]}},
    },
}
HOST_ALIASES: Schema = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["ip", "hostnames"],
        "additionalProperties": False,
        "properties": {"ip": {"type": "string", "minLength": 1}, "hostnames": {**TEXTS, "minItems": 1}},
    },
}
CONDITION: Schema = {
    "type": "boolean",
    "description": "not read here: the usual `condition` of a parent chart that has this one as a dependency",
}
ENV: Schema = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["name"],
        "additionalProperties": False,
        "properties": {
            "name": {"type": "string", "minLength": 1},
            "value": {"type": ["string", "null"]},
            "valueFrom": {"type": ["object", "null"]},
        },
    },
}
HOSTS: Schema = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["paths"],
        "additionalProperties": False,
        "properties": {
            "host": {"type": "string"},
            "paths": {
                "type": "array",
                "minItems": 1,
                "items": {
                    "type": "object",
                    "required": ["path"],
                    "additionalProperties": False,
                    "properties": {
                        "path": {"type": "string"},
                        "pathType": {"enum": ["Prefix", "Exact", "ImplementationSpecific"]},
                    },
                },
            },
        },
    },
}


def one_of(*words: str) -> Schema:
    """Text that is one of these."""
    return {"type": "string", "enum": list(words)}


def of_config(name: str) -> Schema:
    """A section of config.yml."""
    return {"$ref": f"#/definitions/Config/properties/{name}"}


PULL = one_of("Always", "IfNotPresent", "Never")
BY_PATH: dict[str, Schema] = {
    "placement": one_of("deployment", "ollama-sidecar"),
    "replicaCount": COUNT,
    "imagePullSecrets": SECRETS,
    "global.imagePullSecrets": SECRETS,
    "global.imageRegistry": REGISTRY,
    "nameOverride": NAME,
    "fullnameOverride": NAME,
    "namespaceOverride": NAME,
    "config.existingConfigMap": NAME,
    "config.key": {"type": "string", "pattern": "^[-._a-zA-Z0-9]+$", "maxLength": 240},
    "config.watch": one_of("api", "mount"),
    "config.require": {"type": ["array", "null"], "items": one_of(*OFF), "uniqueItems": True},
    "config.auth": {"anyOf": [of_config("auth"), {"type": "object", "maxProperties": 0}]},
    "discovery.mode": one_of("pods", "endpointslices", "dns", "static"),
    "discovery.namespaces": {"type": "array", "items": NAME, "uniqueItems": True},
    "discovery.port": PORT,
    "discovery.static": {"$ref": "#/definitions/Discovery/properties/static"},
    "limits.redis.existingSecret": NAME,
    "limits.redis.passwordKey": {"type": "string", "pattern": "^[-._a-zA-Z0-9]+$"},
    "limits.redis.caKey": {"type": "string", "pattern": "^[-._a-zA-Z0-9]*$"},
    "service.type": one_of("ClusterIP", "NodePort", "LoadBalancer"),
    "service.port": PORT,
    "service.nodePort": {"type": ["integer", "null"], "minimum": 1, "maximum": 65535},
    "service.ipFamilyPolicy": one_of("", "SingleStack", "PreferDualStack", "RequireDualStack"),
    "service.ipFamilies": {"type": "array", "items": one_of("IPv4", "IPv6")},
    "service.trafficDistribution": one_of("", "PreferClose", "PreferSameZone", "PreferSameNode"),
    "service.loadBalancerSourceRanges": TEXTS,
    "service.externalTrafficPolicy": one_of("", "Cluster", "Local"),
    "clusterDomain": {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?[.]?$"},
    "ports.api": {**PORT, "minimum": 1024},
    "ports.admin": {**PORT, "minimum": 1024},
    "ingress.hosts": HOSTS,
    "httpRoute.hostnames": TEXTS,
    "httpRoute.path": {"type": "string", "pattern": "^/"},
    "httpRoute.timeouts.request": GO_DURATION,
    "httpRoute.timeouts.backendRequest": GO_DURATION,
    "audit.postgresql.existingSecret": NAME,
    "audit.postgresql.secretKey": {"type": "string", "pattern": "^[-._a-zA-Z0-9]+$"},
    "audit.postgresql.port": PORT,
    "audit.persistence.existingClaim": NAME,
    "audit.persistence.size": {"type": "string", "pattern": "^[0-9.]+([KMGTPE]i?)?$"},
    "audit.persistence.whenDeleted": one_of("Delete", "Retain"),
    "audit.sizeLimit": {"type": "string", "pattern": "^([0-9.]+([KMGTPE]i?)?)?$"},
    "audit.persistence.accessMode": one_of("ReadWriteOnce", "ReadWriteOncePod"),
    "audit.key.existingSecret": NAME,
    "audit.key.secretKey": {"type": "string", "pattern": "^[-._a-zA-Z0-9]+$"},
    "tls.certManager.issuerRef.kind": {"type": "string", "minLength": 1},
    "tls.certManager.dnsNames": TEXTS,
    "tls.certManager.duration": GO_DURATION,
    "tls.certManager.renewBefore": GO_DURATION,
    "networkPolicy.apiServerPorts": {"type": "array", "items": PORT, "minItems": 1},
    "networkPolicy.dnsPorts": {"type": "array", "items": PORT, "minItems": 1},
    "drain.delaySeconds": COUNT,
    "drain.graceSeconds": COUNT,
    "terminationGracePeriodSeconds": {"type": ["integer", "null"], "minimum": 1},
    "revisionHistoryLimit": COUNT,
    "dnsPolicy": one_of("", "ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"),
    "hostAliases": HOST_ALIASES,
    "extraArgs": TEXTS,
    "extraEnv": ENV,
    "podDisruptionBudget.minAvailable": AMOUNT,
    "podDisruptionBudget.maxUnavailable": AMOUNT,
    "podDisruptionBudget.unhealthyPodEvictionPolicy": one_of("AlwaysAllow", "IfHealthyBudget"),
    "autoscaling.minReplicas": POSITIVE,
    "autoscaling.maxReplicas": POSITIVE,
    "autoscaling.targetCPUUtilizationPercentage": PERCENT,
    "autoscaling.targetMemoryUtilizationPercentage": PERCENT,
    "keda.minReplicaCount": COUNT,
    "keda.maxReplicaCount": POSITIVE,
    "keda.pollingInterval": POSITIVE,
    "keda.cooldownPeriod": COUNT,
    "keda.triggers": {**OBJECTS, "minItems": 1},
    "metrics.prometheusRule.alertLabels": STRINGS,
    "metrics.otlp.endpoint": URL,
    "metrics.otlp.intervalSeconds": POSITIVE,
    "tracing.endpoint": URL,
    "tracing.protocol": one_of("http/protobuf", "grpc"),
    "tracing.sampler": one_of(
        *("", "always_on", "always_off", "traceidratio"),
        *("parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio"),
    ),
    "tracing.samplerArg": {"type": "string", "pattern": "^([0-9.]+)?$"},
    "tracing.propagators": {"type": "string", "pattern": "^[a-z,]*$"},
    "tracing.headersSecret.name": NAME,
    "tracing.resourceAttributes": STRINGS,
    "ollama.replicaCount": COUNT,
    "ollama.numParallel": POSITIVE,
    "ollama.pull.models": TEXTS,
    "ollama.gpu.count": COUNT,
    "ollama.persistence.size": {"type": "string", "pattern": "^[0-9.]+([KMGTPE]i?)?$"},
    "ollama.persistence.accessModes": TEXTS,
    "ollama.persistence.whenDeleted": one_of("Delete", "Retain"),
    "ollama.persistence.whenScaled": one_of("Delete", "Retain"),
    "ollama.extraEnv": ENV,
    "tests.timeoutSeconds": COUNT,
    "extraObjects": {"type": "array", "items": {"type": ["object", "string"]}},
}
BY_NAME: dict[str, Schema] = {
    "registry": REGISTRY,
    "repository": REPOSITORY,
    "digest": DIGEST,
    "tag": TAG,
    "pullPolicy": PULL,
    "interval": GO_DURATION,
    "scrapeTimeout": GO_DURATION,
    **dict.fromkeys(
        (
            *("labels", "annotations", "commonLabels", "commonAnnotations", "podLabels", "podAnnotations"),
            *("deploymentLabels", "deploymentAnnotations", "nodeSelector"),
        ),
        STRINGS,
    ),
}


def schema() -> Schema:
    """The whole schema, draft 7, which Helm 3 and 4 both read. Comments of values.yaml are its descriptions."""
    meanings = {value.path: value.meaning for value in documented_values()}
    root = _of(defaults(), "", meanings)
    root["properties"]["global"]["additionalProperties"] = True  # other charts under one parent have values there
    root["properties"]["enabled"] = CONDITION
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Values of ai-gateway-ollama",
        **root,
        "definitions": _definitions(),
    }


def as_text() -> str:
    """values.schema.json."""
    return json.dumps(schema(), indent=2) + "\n"


def _of(default: Any, path: str, meanings: dict[str, str]) -> Schema:
    known = _known(path)
    if known is None:
        known = _from_default(default, path, meanings)
    described = {"description": meanings[path], **known} if path in meanings and "$ref" not in known else known
    return _or_null(described)


def _or_null(one: Schema) -> Schema:
    """Every value may be left empty: templates/_settle.tpl puts it back."""
    if "type" not in one:
        return one if _takes_null(one) else {"anyOf": [*one.get("anyOf", [one]), {"type": "null"}]}
    kinds = one["type"] if isinstance(one["type"], list) else [one["type"]]
    nullable = {**one, "type": [*(kind for kind in kinds if kind != "null"), "null"]}
    return {**nullable, "enum": [*one["enum"], None]} if "enum" in one else nullable


def _known(path: str) -> Schema | None:
    room, _, name = path.rpartition(".")
    if path in BY_PATH:
        return BY_PATH[path]
    if room == "config" and name in _definitions()["Config"]["properties"]:
        return of_config(name)
    return BY_NAME.get(name)


def _from_default(default: Any, path: str, meanings: dict[str, str]) -> Schema:
    if isinstance(default, dict):
        if path in meanings:  # a value as a whole, not a section
            return FREE
        properties = {name: _of(one, f"{path}.{name}".lstrip("."), meanings) for name, one in default.items()}
        return {"type": "object", "additionalProperties": False, "properties": properties}
    if isinstance(default, list):
        return OBJECTS
    kinds = {bool: "boolean", int: "integer", str: "string"}
    return {"type": kinds[type(default)]}


def _takes_null(one: Schema) -> bool:
    if name := one.get("$ref", "").removeprefix("#/definitions/Config/properties/"):
        one = _definitions()["Config"]["properties"].get(name, {})
    return {"type": "null"} in one.get("anyOf", [])


@cache
def _definitions() -> dict[str, Schema]:
    """The types of config.yml; draft 7 calls the place `definitions`."""
    text = (ROOT / "config.schema.json").read_text().replace("#/$defs/", "#/definitions/")
    definitions: dict[str, Schema] = json.loads(text)["$defs"]
    model = definitions["Config"]["properties"]["models"]["anyOf"][0]["additionalProperties"]
    model["anyOf"].append({"const": ""})  # what `--set config.models.ID=` makes of a model without anything
    return definitions
