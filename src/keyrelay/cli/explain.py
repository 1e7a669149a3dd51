"""`keyrelay explain`: why a request was answered as it was."""

from typing import Annotated
from urllib.parse import quote

import typer

from keyrelay.cli import options
from keyrelay.cli.output import print_json
from keyrelay.cli.remote import Gateway, SecretFileOption


@options.sets(*options.REMOTE)
def explain(
    request_id: Annotated[str, typer.Argument(metavar="ID", help="The request's id: `x-request-id` of its answer.")],
    *,
    overrides: options.Overrides,
    secret_file: SecretFileOption = None,
    json: options.JsonOption = False,
) -> None:
    """Say why a request was answered as it was: candidates, reasons, calls, quota.

    \b
    Examples:
      keyrelay explain req_01998a5c8c007d3f8a1b2c3d4e5f6071
      keyrelay explain req_01998a5c8c007d3f8a1b2c3d4e5f6071 --json
    """
    import msgspec

    path = f"/api/v1/requests/{quote(request_id, safe='')}"
    gateway = Gateway(overrides, secret_file)
    if json:
        print_json(**msgspec.json.decode(gateway.get(path)))
    else:
        typer.echo(gateway.get(path, accept="text/plain").decode(), nl=False)
