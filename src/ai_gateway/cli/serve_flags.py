"""The flags of `ai-gateway serve`, and what its help says."""

import argparse
import os

from ai_gateway.cli.paths import path_flag
from ai_gateway.cli.requiring import add_require

_EPILOG = """where Ollama endpoints come from, first match wins:
  1. `discovery` in the config
  2. in a pod (a ServiceAccount is mounted), or with --kubeconfig or --context: the ready pods
     with the label app.kubernetes.io/name=ollama in the same namespace
  3. $OLLAMA_HOST, read as Ollama's own client reads it
  4. http://127.0.0.1:11434, as soon as it answers
  5. with --demo, three simulated endpoints, if none of the above is there at the start

examples:
  ai-gateway serve
  ai-gateway serve --config models.yml --listen :8080 --admin :9090
  OLLAMA_HOST=gpu-box:11434 ai-gateway serve
  ai-gateway serve --configmap ai/models          config.yml in ConfigMap models, namespace ai, followed by the API
  ai-gateway serve --context staging              the Ollama pods of a cluster, from outside
  curl http://127.0.0.1:8080/v1/models

leaving: SIGTERM lets new requests in for the drain delay and running answers go on for the grace; SIGINT gives
them 5 s; a second signal ends everything at once. SIGHUP is as SIGTERM in a terminal; elsewhere files are read anew.

Flags also come from the environment: AI_GATEWAY_CONFIG, AI_GATEWAY_CONFIGMAP, AI_GATEWAY_LISTEN, AI_GATEWAY_ADMIN,
AI_GATEWAY_DRAIN_DELAY, AI_GATEWAY_DRAIN_GRACE, AI_GATEWAY_REQUIRE, AI_GATEWAY_DEMO=1. --kubeconfig and --context come
by flag alone.
AI_GATEWAY_SERVICE=[NAMESPACE/]NAME is the gateways' own Service: limits in memory are divided by those that are ready.
AI_GATEWAY_POD_UID is the uid of the gateway's own pod: an Ollama in it is reached on loopback.
A flag goes before the environment, that before the config file, that before the default.
"""

DEFAULT_CONFIG = "config.yml"
DEFAULT_LISTEN = "127.0.0.1:8080"
DEFAULT_ADMIN = "127.0.0.1:9090"


def add_flags(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    """The sub-command `serve` with all its flags."""
    parser = subparsers.add_parser(
        "serve",
        help="run the gateway",
        description="Serves the OpenAI-style API under /v1 in front of Ollama, and probes on a port of their own.",
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
        help="the models and how they are served, or a folder with a config.yml, such as a mounted ConfigMap; followed "
        f"while running (default {DEFAULT_CONFIG})",
    )
    parser.add_argument(
        "--configmap",
        default=os.environ.get("AI_GATEWAY_CONFIGMAP"),
        metavar="[NAMESPACE/]NAME[:KEY]",
        help="follow the config in a ConfigMap through the Kubernetes API instead (key: config.yml); a file named "
        "with --config stands in while it cannot be read",
    )
    add_require(parser)


def _add_addresses(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--listen",
        default=os.environ.get("AI_GATEWAY_LISTEN"),
        metavar="HOST:PORT",
        help=f"address of the API; `:8080` is every address, port 0 takes a free one (default {DEFAULT_LISTEN})",
    )
    parser.add_argument(
        "--admin",
        default=os.environ.get("AI_GATEWAY_ADMIN"),
        metavar="HOST:PORT",
        help=f"address of /livez and /readyz (default {DEFAULT_ADMIN})",
    )


def _add_cluster(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kubeconfig", metavar="FILE", help="of the cluster whose pods are found, outside of it")
    parser.add_argument("--context", metavar="NAME", help="the kubeconfig's context to use")


def _add_drain(parser: argparse.ArgumentParser) -> None:
    for name, meaning in (("delay", "in which new requests are still served"), ("grace", "for running answers then")):
        parser.add_argument(
            f"--drain-{name}",
            default=os.environ.get(f"AI_GATEWAY_DRAIN_{name.upper()}"),
            metavar="DURATION",
            help=f"on SIGTERM, the time {meaning}; goes before `drain.{name}` in the config",
        )
