import pytest

from tests.house.sources import PURE_PACKAGES, ROOT, Module, all_modules


def mirrors() -> list[Module]:
    return [module for module in all_modules() if module.package in PURE_PACKAGES and module.path.name != "__init__.py"]


@pytest.mark.parametrize("module", mirrors(), ids=lambda module: module.name)
def test_every_module_that_decides_has_its_tests(module: Module) -> None:
    _, package, *inner, last = module.name.split(".")
    expected = ROOT.joinpath("tests", package, *inner, f"test_{last}.py")
    if not expected.is_file():
        place = expected.relative_to(ROOT)
        pytest.fail(f"{module.path}:1: its tests belong in {place}, which is missing", pytrace=False)
