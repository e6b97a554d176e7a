"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from inkloop.errors import UserError

_HOME = Path(__file__).parents[2]
CHECKOUT = _HOME if (_HOME / "pyproject.toml").is_file() else Path.cwd()  # where it is installed nobody writes
DEFAULT_STORE = str(CHECKOUT / "store")

Artifacts = Annotated[Path, typer.Option(help="Where outputs, cache and log go.")]
Data = Annotated[Path, typer.Option(help="Where data sets known by name are kept.")]
ProfileName = Annotated[str, typer.Option("--profile", help="smoke, default, full, edge, or a YAML file.")]
Hardware = Annotated[str, typer.Option(help="Where the model is to run: edge, cpu or gpu; empty: as the profile says.")]
Source = Annotated[str, typer.Option(help="A data set by name (mnist), a folder of digits, or an IDX file.")]
Store = Annotated[str, typer.Option(help="Where models are kept: a folder, or s3://bucket/prefix.")]
By = Annotated[str, typer.Option(envvar="USER", help="Who does this; it is kept.")]
Host = Annotated[str, typer.Option(envvar="KFP_HOST", help="Kubeflow Pipelines to retrain on; empty: here.")]
KubeflowHost = Annotated[str, typer.Option("--host", envvar="KFP_HOST", help="http://host:port of Kubeflow Pipelines.")]
Experiment = Annotated[str, typer.Option(help="The experiment of Kubeflow that its runs are filed under.")]

# What a command cannot do without, as make's variables have it.
NEEDED = {
    "CRON": 'CRON="0 3 * * *"',
    "ID": "ID=... (the prediction_id of an answer)",
    "KFP_HOST": "KFP_HOST=http://host:port",
    "STORE": "STORE=s3://bucket/prefix",
    "VERSION": "VERSION=... (the model_version of an answer)",
}


def require(**given: str) -> None:
    """Raise a UserError that names all of the variables that are empty. given: each by its name in `NEEDED`."""
    if missing := [name for name, value in given.items() if not value]:
        raise UserError(f"{', '.join(missing)}: not set. Give {', '.join(NEEDED[name] for name in missing)}.")
