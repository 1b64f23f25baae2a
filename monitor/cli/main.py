"""The command line.  Exit codes: 0 done; 1 something went wrong; 2 wrong usage or settings."""

from importlib import import_module

import click

from monitor.cli.options import CommandGroup, examples

# Where each command is defined: module of monitor.cli, and name in it.
COMMANDS = {
    "access": "access:access",
    "alerts": "alerts:alerts",
    "backfill": "backfill:backfill",
    "backtest": "backtest.command:backtest",
    "bench": "bench:bench",
    "classify": "classify:classify",
    "db": "db:db",
    "dead-letters": "dead_letters:dead_letters",
    "demo": "demo:demo",
    "doctor": "doctor:doctor",
    "entities": "entities:entities",
    "evaluate": "evaluate:evaluate",
    "explain": "explain:explain",
    "feed": "feed:feed",
    "healthy": "daemon:healthy",
    "leases": "leases:leases",
    "listen": "listen:listen",
    "models": "models:models",
    "mutes": "mutes:mutes",
    "offsets": "offsets:offsets",
    "outbox": "outbox:outbox",
    "purge": "maintenance:purge",
    "relabel": "maintenance:relabel",
    "replay": "maintenance:replay",
    "rules": "rules:rules",
    "run": "daemon:run",
    "sample": "demo:sample",
    "settings": "settings:show_settings",
    "status": "status:status",
    "stories": "stories:stories",
    "sums": "sums:sums",
    "topics": "topics:topics",
    "train": "train:train",
    "verify": "verify:verify",
    "web": "web:web",
}


class MainGroup(CommandGroup):
    """Imports a command when it is called: a short one does not wait for what only others need."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, name = COMMANDS[cmd_name].split(":")
        command: click.Command = getattr(import_module(f"monitor.cli.{module}"), name)
        return command


@click.group(
    cls=MainGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples(
        "monitor demo                          everything in one process, with a sample feed",
        "monitor doctor -c monitor.toml        check that everything a run needs is there",
        "monitor run -c monitor.toml           the daemon",
        "echo 'Shares plunge' | monitor classify -",
    ),
)
@click.version_option(package_name="sentiment-monitor", prog_name="monitor")
def main() -> None:
    """Streaming financial sentiment: Kafka in, SQL and alerts out."""


if __name__ == "__main__":
    main()
