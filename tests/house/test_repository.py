import hashlib
import os
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import keyrelay
from tests.house.sources import PACKAGE, ROOT, repository_files

README_LINES = 150

# Written in pieces, so that this file does not hold them.
FORBIDDEN = {
    "a path of one machine": r"/wo" + r"rk/(main|shared|\.)",
    "the home of one machine": r"(?<![\w.])/ro" + r"ot/\.",
    "the address of a package registry": "|".join(
        re.escape(left + right)
        for left, right in (
            ("pypi.org", "/simple"),
            ("files.python", "hosted.org"),
            ("registry.npm", "js.org"),
            ("registry.yarn", "pkg.com"),
            ("static.crates", ".io"),
            ("proxy.golang", ".org"),
            ("repo.maven", ".apache.org"),
            ("deb.debian", ".org"),
        )
    ),
    "an option that names an index": r"--(extra-)?index" + r"-url[= ]\S*//",
    "a merge that is not finished": r"(?m)^(<{7}|>{7}) \S",
}

STATIC_DOCS = PACKAGE / "api" / "static_docs"
LOCKS = ("runtime", "dev")
CLIENT_LOCKS = ("clients", "clients-older")


def text_of(path: Path) -> str:
    return path.read_bytes().decode("utf-8", errors="ignore")


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_holds(what: str) -> None:
    pattern = re.compile(FORBIDDEN[what])
    findings = [
        f"{path.relative_to(ROOT)}:{text[: found.start()].count(chr(10)) + 1}: {what}: {found[0]!r}; take it out"
        for path in repository_files()
        for text in [text_of(path)]
        for found in pattern.finditer(text)
    ]
    assert not findings, "\n".join(findings)


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("a path of one machine", "see /wo" + "rk/main/x"),
        ("the address of a package registry", "https://registry.npm" + "js.org/x"),
        ("an option that names an index", "pip install --index" + "-url https://x"),
        ("a merge that is not finished", "<" * 7 + " HEAD"),
    ],
)
def test_the_pattern_finds_what_it_is_for(what: str, text: str) -> None:
    assert re.search(FORBIDDEN[what], text)


def test_the_readme_is_short() -> None:
    length = text_of(ROOT / "README.md").count("\n")
    assert length <= README_LINES, f"README.md has {length} lines, at most {README_LINES}: the rest belongs in docs/"


def test_the_changelog_has_an_entry_for_this_version() -> None:
    headings = re.findall(r"(?m)^## \[?([^\]\s]+)", text_of(ROOT / "CHANGELOG.md"))
    assert keyrelay.__version__ in headings, f"CHANGELOG.md has no `## [{keyrelay.__version__}]`; it has {headings}"


# Scripts.


def scripts() -> list[Path]:
    return [path for path in [*sorted((ROOT / "scripts").iterdir()), ROOT / ".ci" / "run"] if path.suffix != ".sh"]


@pytest.mark.parametrize("script", scripts(), ids=lambda path: path.name)
def test_a_script_can_be_run_as_it_is(script: Path) -> None:
    assert os.access(script, os.X_OK), f"{script.relative_to(ROOT)}:1: chmod +x"
    lines = text_of(script).splitlines()
    assert lines[0] == "#!/usr/bin/env bash", f"{script.relative_to(ROOT)}:1: begin with #!/usr/bin/env bash"
    assert "set -euo pipefail" in lines, f"{script.relative_to(ROOT)}:2: stop at the first failure: set -euo pipefail"
    subprocess.run(["bash", "-n", script], check=True)


@pytest.mark.parametrize("script", [path for path in scripts() if path.parent.name == "scripts"], ids=lambda p: p.name)
def test_a_script_explains_itself(script: Path, tmp_path: Path) -> None:
    shown = subprocess.run([script, "--help"], capture_output=True, text=True, check=True, cwd=tmp_path, timeout=60)
    assert shown.stdout.lower().startswith("usage: scripts/" + script.name)


def test_what_git_keeps_is_executable() -> None:
    listed = subprocess.run(
        ["git", "-C", ROOT, "ls-files", "--stage", "scripts", ".ci"], capture_output=True, text=True, check=True
    )
    for line in listed.stdout.splitlines():
        mode, _, name = line.replace("\t", " ").partition(" ")
        if not name.endswith(".sh"):
            assert mode == "100755", f"{name.split()[-1]}:1: git update-index --chmod=+x"


# Locks.


def locked(name: str) -> dict[str, str]:
    """Version of each package that a lock names."""
    found = re.findall(r"(?m)^([A-Za-z0-9._-]+)==([^\s;\\]+)", text_of(ROOT / "requirements" / f"{name}.txt"))
    return {canonicalize_name(package): version for package, version in found}


def project() -> dict[str, Any]:
    return tomllib.loads(text_of(ROOT / "pyproject.toml"))


def wanted(name: str) -> list[str]:
    declared = project()
    requirements: list[str] = declared["project"]["dependencies"] + declared["build-system"]["requires"]
    return requirements + (declared["dependency-groups"]["dev"] if name == "dev" else [])


@pytest.mark.parametrize("name", LOCKS)
def test_the_lock_satisfies_what_is_declared(name: str) -> None:
    versions = locked(name)
    for text in wanted(name):
        requirement = Requirement(text)
        version = versions.get(canonicalize_name(requirement.name), "")
        assert version, f"requirements/{name}.txt:1: {requirement.name} is missing: run scripts/lock"
        assert requirement.specifier.contains(version, prereleases=True), (
            f"requirements/{name}.txt:1: {requirement.name} {version} is not {requirement.specifier}: run scripts/lock"
        )


def test_the_locks_agree() -> None:
    runtime, dev = locked("runtime"), locked("dev")
    assert {package: dev.get(package) for package in runtime} == runtime, "run scripts/lock"


@pytest.mark.parametrize("name", [*LOCKS, *CLIENT_LOCKS])
def test_a_lock_holds_versions_and_hashes_only(name: str) -> None:
    path = ROOT / "requirements" / f"{name}.txt"
    allowed = re.compile(r"#.*|[A-Za-z0-9._-]+==[^\s;]+( ; [^\\]+)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?")
    previous = ""
    for number, line in enumerate(text_of(path).splitlines(), 1):
        assert allowed.fullmatch(line), f"{path.relative_to(ROOT)}:{number}: {line!r}: run scripts/lock"
        assert "==" not in previous or "--hash" in line, f"{path.relative_to(ROOT)}:{number}: no hash: run scripts/lock"
        previous = line
    assert "://" not in text_of(path)


# The viewers behind /docs and /redoc.


def test_the_viewers_are_what_their_versions_file_says() -> None:
    for line in text_of(STATIC_DOCS / "VERSIONS").splitlines():
        found = re.fullmatch(r"([0-9a-f]{64})  (\S+)", line)
        if found:
            digest = hashlib.sha256((STATIC_DOCS / found[2]).read_bytes()).hexdigest()
            assert digest == found[1], f"{STATIC_DOCS.relative_to(ROOT)}/{found[2]}:1: changed: run scripts/vendor-docs"


def test_the_viewers_load_nothing_from_elsewhere() -> None:
    text = "".join(text_of(path) for path in STATIC_DOCS.iterdir() if path.suffix in {".js", ".css"})
    # Addresses in a viewer are names of schemas and links; what is loaded is a source, an import or a font.
    assert not re.findall(r'(?:\bsrc:|\bsrc=|@import |url\()\s*["\']?(?:https?:)?//[^"\')\s]+', text)
    assert "googleapis" not in text
