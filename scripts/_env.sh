# Sourced by the scripts beside it. Sets $root (the project's folder) and $venv (an environment with everything that
# requirements-dev.txt pins), and makes that environment where it is missing or out of date.
#
# E1  Needs a POSIX shell and Python 3.11 or newer with its venv module; no other tool.
# E2  $PYTHON decides where it is set; else an environment that is there stays with the Python it was made with.
# E3  Descriptor 9 holds a lock, shared, for as long as the script runs: nobody rebuilds the environment under it.

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
venv=$root/.venv
unset PYTHONHOME PYTHONPATH

# Ends with 0 where the Python given can make the environment; otherwise $why says why not.
usable() {
    status=0
    "$1" -I -c '
import sys
if sys.version_info < (3, 11):
    sys.exit(3)
try:
    import ensurepip, venv
except ImportError:
    sys.exit(4)
' >/dev/null 2>&1 || status=$?
    case $status in
        0) why= ;;
        3) why="is older than Python 3.11" ;;
        4) why="has no venv module (on Debian and Ubuntu it is a package of its own: apt-get install python3-venv)" ;;
        *) why="is no Python that runs" ;;
    esac
    return "$status"
}

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        python=$PYTHON
        usable "$python" && return
        echo "\$PYTHON ($python) $why." >&2
        exit 1
    fi
    found=
    for python in "$venv/bin/python" python3.13 python3.12 python3.11 python3.14 python3 python; do
        command -v "$python" >/dev/null || continue
        usable "$python" && return
        found="$found
  $(command -v "$python") $why"
    done
    echo "onewriter needs Python 3.11 or newer with its venv module; set PYTHON to one. Found:${found:- none}" >&2
    exit 1
}

find_python
mkdir -p "$root/.cache"
exec 9>>"$root/.cache/setup.lock"
"$python" "$root/scripts/_setup.py" 9 || exit
