#!/usr/bin/env bash
# install.sh PYTHON LOCK: installs what a lock names into PYTHON's environment, by hash, and says how far it is.
# What pip says is kept in install.log of the environment, and its end is shown where it fails.
set -euo pipefail
python=$1 lock=$2
packages=$(grep -cE '^[a-zA-Z0-9]' "$lock")
log=$("$python" -c 'import sys; print(sys.prefix)')/install.log
echo "Installing the $packages packages of $lock; this takes some minutes, once"
"$python" -m pip install --disable-pip-version-check --root-user-action ignore --progress-bar off --no-compile --no-deps \
    --require-hashes --requirement "$lock" > "$log" 2>&1 &
pip=$!
trap 'kill $pip 2> /dev/null || true' EXIT
while kill -0 $pip 2> /dev/null; do
    sleep 1
    if [ $((SECONDS % 15)) = 0 ]; then
        if grep -q '^Installing collected' "$log"; then
            echo "  $SECONDS s: unpacking"
        else
            echo "  $SECONDS s: $(grep -cE '^(Collecting|Requirement already)' "$log" || true) of $packages fetched"
        fi
    fi
done
if ! wait $pip; then
    tail -n 20 "$log" >&2
    echo "pip could not install $lock: its last lines are above, all of them in $log" >&2
    exit 1
fi
echo "  $SECONDS s: compiling"  # on all cores at once; pip would do it package by package
"$python" -m compileall -q -j 0 "$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" > /dev/null 2>&1 || true
echo "  installed in $SECONDS s"
