"""`python -m pipeline`: run the graph here or on Kubeflow; serve, watch, retrain; try and roll back models."""

import sys

import typer

from inkloop.errors import UserError
from pipeline.commands import backup, captured, exports, graph, keys, lines, loop, strokes, trace, versions
from pipeline.log import StepFailed

COMMANDS = (graph, loop, versions, strokes, lines, captured, exports, backup, trace)

app = typer.Typer(help=__doc__, pretty_exceptions_enable=False, no_args_is_help=True, add_completion=False)
for commands in COMMANDS:
    app.add_typer(commands.app)
app.add_typer(keys.keys, name="keys")


def main() -> None:
    """Run a command; a mistake that the user can mend ends it with one sentence and exit code 2."""
    try:
        sys.exit(app(standalone_mode=False))  # or typer would draw a box around what it finds wrong
    except typer.TyperException as error:
        print(error.format_message(), file=sys.stderr)
        sys.exit(error.exit_code)
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except StepFailed as error:
        print(error, file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
