# Sourced by the scripts beside it: finds Python, makes .venv and installs what the lock files name, hash-checked.
# Expects `root` to be the checkout; leaves the working directory alone. Speaks on standard error only.
# shellcheck shell=bash

: "${root:?set root before sourcing scripts/environment.sh}"
venv="$root/.venv"
python="$venv/bin/python"

# Only what .venv holds counts, whatever the caller's own Python and pip are told to use.
unset PYTHONPATH PYTHONHOME
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore PIP_USER=0

say() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; }
die() { say "$*"; exit 1; }

is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

# find_python: print an interpreter of 3.11 or newer; $PYTHON goes first.
find_python() {
    local candidate found=""
    for candidate in ${PYTHON:+"$PYTHON"} python3 python3.13 python3.12 python3.11 python; do
        command -v "$candidate" >/dev/null || continue
        if is_new_enough "$candidate"; then
            command -v "$candidate"
            return
        fi
        found="${found:+$found, }$("$candidate" -V 2>&1 | sed 's/^Python //') ($(command -v "$candidate"))"
    done
    die "Python 3.11 or newer is needed, found ${found:-none}. Install it, or name one: PYTHON=/path/to/python3 $0"
}

# pip_install ARG…: pip inside .venv, whether or not .venv has a pip of its own.
pip_install() {
    if "$python" -c 'import pip' 2>/dev/null; then
        "$python" -m pip install --quiet "$@" >&2
    else
        "$(find_python)" -m pip --python "$python" install --quiet "$@" >&2 ||
            die "pip failed (above). On Debian, 'apt-get install python3-pip python3-venv' gives Python its pip."
    fi
}

# ensure_venv: make .venv unless it is there and works.
ensure_venv() {
    if [[ -x $python ]] && is_new_enough "$python"; then
        return
    fi
    local base
    base=$(find_python)
    # Debian's Python without python3-venv cannot put pip into a new environment; its own pip serves then.
    "$base" -m venv --clear "$venv" >/dev/null 2>&1 ||
        "$base" -m venv --clear --without-pip "$venv" >&2 ||
        die "$base could not make $venv (above)."
}

# checksum FILE: of the lock, of what the package declares, and of the interpreter.
checksum() {
    { cat "$1" "$root/pyproject.toml" "$root/src/keyrelay/__init__.py"; "$python" -V; } | cksum
}

# is_stamped NAME: whether .venv holds what requirements/NAME.txt and the package say now.
is_stamped() {
    local stamp="$venv/.installed-$1"
    [[ -f $stamp && $(<"$stamp") == "$(checksum "$root/requirements/$1.txt")" ]]
}

# sources_checksum: of everything that a compiled package is made of.
sources_checksum() {
    { checksum "$root/requirements/dev.txt"; find "$root/src" -type f ! -path '*/__pycache__/*' -exec cksum {} + | LC_ALL=C sort; } | cksum
}

# runs_compiled: whether .venv holds the package compiled from the sources as they are (scripts/compile).
runs_compiled() {
    [[ -f $venv/.compiled && $(<"$venv/.compiled") == "$(sources_checksum)" ]]
}

# install_checkout: have .venv run the sources of the checkout as they are.
install_checkout() {
    rm -f "$venv/.compiled"
    pip_install --no-deps --no-build-isolation -e "$root"
}

# no_stale_code: when .venv holds what was compiled from other sources, have it run those of the checkout. What a wheel
# that was built here has left beside the sources would be imported in their place.
no_stale_code() {
    find "$root/src" -name '*.so' -type f -delete
    if [[ -f $venv/.compiled ]] && ! runs_compiled; then
        say "the sources have changed since they were compiled, so they run as they are; scripts/compile compiles them anew"
        install_checkout
    fi
}

# install_locked NAME: bring .venv to requirements/NAME.txt and the package itself, unless it is there already.
install_locked() {
    local lock="$root/requirements/$1.txt" stamp="$venv/.installed-$1"
    ensure_venv
    # What the dev lock installs holds everything of the runtime lock.
    if is_stamped "$1" || is_stamped dev; then
        no_stale_code
        return
    fi
    if command -v flock >/dev/null; then
        exec 9>"$venv/.lock"
        flock 9
        if is_stamped "$1"; then
            exec 9>&-
            return
        fi
    fi
    say "installing $(grep -c '==' "$lock") locked packages into ${venv}, once"
    pip_install --require-hashes --no-deps -r "$lock" 9>&-
    install_checkout 9>&-
    checksum "$lock" >"$stamp"
    exec 9>&-
}
