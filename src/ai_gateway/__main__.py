"""The command `ai-gateway`; each sub-command has a file of its own in `cli`."""

import sys

from ai_gateway.cli.early_signals import end_on_signals


def main(words: list[str] | None = None) -> int:
    """Runs a sub-command; returns the exit status. Without words those of the process are meant."""
    given = sys.argv[1:] if words is None else words
    if words is None:
        end_on_signals(given)  # before anything else is imported, which takes a second where the machine is busy
    from ai_gateway.cli.hangup import Hangup, has_terminal

    hangup = Hangup(has_terminal())
    if given[:1] == ["serve"]:
        hangup.watch()  # an early reload must not end the gateway
    from ai_gateway.cli.command import run

    if words is None:
        from ai_gateway.cli.terminal import escape_output

        escape_output()
    return run(words, hangup)


if __name__ == "__main__":
    sys.exit(main())
