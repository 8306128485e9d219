"""The flags of `ai-gateway serve`, and its help."""

import argparse
import os

from ai_gateway.cli.paths import path_flag
from ai_gateway.cli.requiring import add_require

_EPILOG = """where the gateway finds Ollama endpoints (the first match wins):
  1. `discovery` in the config
  2. in a pod with a ServiceAccount, or with --kubeconfig or --context: the ready pods
     with the label app.kubernetes.io/name=ollama in the same namespace
  3. $OLLAMA_HOST, as Ollama's own client reads it
  4. http://127.0.0.1:11434, as soon as it answers
  5. with --demo, three simulated endpoints, if none of the above answers at the start

examples:
  ai-gateway serve
  ai-gateway serve --config models.yml --listen :8080 --admin :9090
  OLLAMA_HOST=gpu-box:11434 ai-gateway serve
  ai-gateway serve --configmap ai/models          watch config.yml in the ConfigMap models, namespace ai
  ai-gateway serve --context staging              use the Ollama pods of a cluster, from outside
  curl http://127.0.0.1:8080/v1/models

shutdown: after SIGTERM the gateway serves new requests for the drain delay, then finishes running answers within
the drain grace. After SIGINT they have 5 s. A second signal ends everything at once. SIGHUP acts as SIGTERM in a
terminal; elsewhere it reloads the config and certificates.

You can set flags in the environment: AI_GATEWAY_CONFIG, AI_GATEWAY_CONFIGMAP, AI_GATEWAY_LISTEN, AI_GATEWAY_ADMIN,
AI_GATEWAY_DRAIN_DELAY, AI_GATEWAY_DRAIN_GRACE, AI_GATEWAY_REQUIRE, AI_GATEWAY_DEMO=1. --kubeconfig and --context
are flags only.
AI_GATEWAY_SERVICE=[NAMESPACE/]NAME names the gateways' own Service: its ready gateways share the limits in memory.
AI_GATEWAY_PEERS_SERVICE=[NAMESPACE/]NAME names the Service whose gateways tell each other what they do.
AI_GATEWAY_POD_UID is the uid of the gateway's own pod: the gateway finds itself among those of the Service, and reaches
an Ollama in its pod on loopback.
A flag overrides the environment, which overrides the config file, which overrides the default.
"""

DEFAULT_CONFIG = "config.yml"
DEFAULT_LISTEN = "127.0.0.1:8080"
DEFAULT_ADMIN = "127.0.0.1:9090"


def add_flags(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    """The sub-command `serve` with all its flags."""
    parser = subparsers.add_parser(
        "serve",
        help="run the gateway",
        description="Serves the OpenAI-style API under /v1 in front of Ollama, and the probes on a second port.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_config(parser)
    _add_addresses(parser)
    _add_cluster(parser)
    _add_drain(parser)
    parser.add_argument(
        "--demo",
        action="store_true",
        default=os.environ.get("AI_GATEWAY_DEMO", "") not in ("", "0", "false"),
        help="serve three simulated endpoints if no Ollama is found",
    )
    return parser


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config",
        type=path_flag,
        default=os.environ.get("AI_GATEWAY_CONFIG") or None,
        metavar="FILE",
        help="the config file, or a folder with a config.yml, such as a mounted ConfigMap; the gateway reloads it "
        f"when it changes (default {DEFAULT_CONFIG})",
    )
    parser.add_argument(
        "--configmap",
        default=os.environ.get("AI_GATEWAY_CONFIGMAP"),
        metavar="[NAMESPACE/]NAME[:KEY]",
        help="watch the config in a ConfigMap through the Kubernetes API instead (key: config.yml); the file of "
        "--config is used while the gateway cannot read it",
    )
    add_require(parser)


def _add_addresses(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--listen",
        default=os.environ.get("AI_GATEWAY_LISTEN"),
        metavar="HOST:PORT",
        help=f"address of the API; `:8080` means all addresses, port 0 a free one (default {DEFAULT_LISTEN})",
    )
    parser.add_argument(
        "--admin",
        default=os.environ.get("AI_GATEWAY_ADMIN"),
        metavar="HOST:PORT",
        help=f"address of /livez and /readyz (default {DEFAULT_ADMIN})",
    )


def _add_cluster(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kubeconfig", metavar="FILE", help="the kubeconfig of a cluster with Ollama pods")
    parser.add_argument("--context", metavar="NAME", help="the kubeconfig's context to use")


def _add_drain(parser: argparse.ArgumentParser) -> None:
    for name, meaning in (("delay", "to still serve new requests"), ("grace", "for running answers after that")):
        parser.add_argument(
            f"--drain-{name}",
            default=os.environ.get(f"AI_GATEWAY_DRAIN_{name.upper()}"),
            metavar="DURATION",
            help=f"after SIGTERM, the time {meaning}; overrides `drain.{name}` in the config",
        )
