"""`ai-gateway check`: checks a config file as the gateway itself does."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ai_gateway.cli.paths import path_flag
from ai_gateway.cli.requiring import add_require, required_by

if TYPE_CHECKING:
    from ai_gateway.config.types import Config


def add_command(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds `check` to the command's sub-commands."""
    parser = subparsers.add_parser(
        "check",
        help="check a config file, for example in CI",
        description="Checks a config file as the gateway does when it starts or the file changes. Prints each mistake\n"
        "with its path, and exits with 1 if there is one. A warning is a likely mistake: the config is valid all the\n"
        "same. For a folder, checks its config.yml, as `serve` does.",
        epilog="example:\n  ai-gateway check config.yml --require auth,limits",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("config", type=path_flag, metavar="config.yml")
    add_require(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """0 for a valid config, 1 with a line for each mistake."""
    from ai_gateway.config import audit
    from ai_gateway.config.balancing_check import idle_keys
    from ai_gateway.config.loading import ConfigError
    from ai_gateway.config.model_names import ModelNames, warnings
    from ai_gateway.config.reconcile_check import reconcile_warnings

    path: Path = arguments.config
    try:
        config = _checked(path, arguments)
    except ValueError as error:
        print(f"ai-gateway check: {error}", file=sys.stderr)
        return 1
    except ConfigError as error:
        for reason in error.reasons:
            print(f"{path}: {reason}", file=sys.stderr)
        return 1
    of_models = (*warnings(ModelNames(config.models)), *idle_keys(config), *reconcile_warnings(config))
    for warning in (*of_models, *audit.warnings(config.audit), *_collision(config)):
        print(f"{path}: warning: {warning}", file=sys.stderr)
    ids = ", ".join(config.models) or "no models"
    print(f"{path}: ok ({ids})")
    return 0


def _checked(path: Path, arguments: argparse.Namespace) -> "Config":
    from ai_gateway.config.loading import ConfigError, load_whole
    from ai_gateway.config.protection import missing_sections

    required = required_by(arguments)
    content = load_whole(path)
    if missing := list(missing_sections(required, content)):
        raise ConfigError(missing)
    return content.config


def _collision(config: "Config") -> Iterator[str]:
    """Warns of an address that collides with the other one's default; if the config sets both, it is a mistake."""
    from ai_gateway.cli.serve_flags import DEFAULT_ADMIN, DEFAULT_LISTEN
    from ai_gateway.wire.hosts import would_collide

    api, admin = config.listen or DEFAULT_LISTEN, config.admin or DEFAULT_ADMIN
    if would_collide(api, admin):
        yield f"the API on {api} and the admin port on {admin} collide: set both `listen` and `admin`"
