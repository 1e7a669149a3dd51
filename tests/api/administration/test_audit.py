"""Who changed what, as the API tells it."""

from functools import partial
from pathlib import Path

from keyrelay.administration.service import Administration, Author
from keyrelay.core.administered import Administered, RouteEntry
from tests.api.served import OPERATOR_SECRET, look, served

PATH = "/api/v1/audit"


async def test_the_newest_change_comes_first_page_by_page(tmp_path: Path) -> None:
    async with served(tmp_path) as gateway:
        administration = gateway.application.administration
        assert isinstance(administration, Administration)
        for number in range(3):
            route = RouteEntry(name="fast", targets=("groq",), notes=str(number))
            await administration.change(partial(Administered.put, entry=route), Author("user:alice"), "edit route")
        first = (await look(gateway, f"{PATH}?limit=2", OPERATOR_SECRET)).json
        assert [line["after"]["notes"] for line in first["lines"]] == ["2", "1"]
        assert first["lines"][0]["before"] == {"name": "fast", "targets": ["groq"], "notes": "1"}
        assert first["lines"][0]["actor"] == "user:alice"
        last = (await look(gateway, f"{PATH}?limit=2&before={first['next']}", OPERATOR_SECRET)).json
        assert [line["before"] for line in last["lines"]] == [None]
        assert last["next"] is None


async def test_it_is_not_for_clients(tmp_path: Path) -> None:
    async with served(tmp_path) as gateway:
        refused = await look(gateway, PATH)
        assert (refused.status, refused.json["error"]["code"]) == (403, "not_permitted")
        assert (await look(gateway, PATH, "nobody")).status == 401
        wrong = await look(gateway, f"{PATH}?before=x", OPERATOR_SECRET)
        assert (wrong.status, wrong.json["error"]["param"]) == (400, "before")
