#!/bin/sh
# Makes .venv and installs the checkout into it: install.sh CHOSEN "CANDIDATES" REQUIREMENT
set -eu
chosen=$1 candidates=$2 requirement=$3

fits() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

python=
for candidate in ${chosen:-$candidates}; do
    if fits "$candidate"; then python=$candidate; break; fi
done
if [ -z "$python" ]; then
    echo "Copilot needs Python 3.11 or newer, and ${chosen:-none of: $candidates} is that; install one, or name it: make run PYTHON=/path/to/python3.11" >&2
    exit 1
fi

if [ -x .venv/bin/python ] && ! fits .venv/bin/python; then
    echo "The .venv here was made with an older or a removed Python; making it again."
    rm -rf .venv
fi
if command -v uv >/dev/null 2>&1; then
    [ -x .venv/bin/python ] || uv venv --quiet --python "$python" .venv
    echo "Installing Copilot (a few seconds the first time) ..."
    exec uv pip install --quiet --python .venv/bin/python --constraint constraints.txt --editable "$requirement"
fi
if ! [ -x .venv/bin/pip ]; then
    if ! "$python" -m venv .venv; then
        echo "$python cannot make a virtual environment; on Debian and Ubuntu: apt-get install python3-venv" >&2
        exit 1
    fi
fi
echo "Installing Copilot (about a minute the first time) ..."
exec .venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable "$requirement"
