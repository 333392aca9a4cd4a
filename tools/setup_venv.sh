#!/usr/bin/env bash
# Makes, or completes, the pinned Python environment of the tools in this folder:
#
#     tools/setup_venv.sh VENV          then: VENV/bin/python tools/golden/smollm2_logits.py ...
#
# Does nothing when VENV was completed from the same pins before. Needs python3 (3.11 or newer), cc and binutils.
# PYTHON names another interpreter.
set -euo pipefail
[ $# -eq 1 ] || { echo "usage: setup_venv.sh VENV" >&2; exit 2; }
venv=$1
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
pins=$(cat "$here/requirements.txt" "$here/cuda_stubs.py" "${BASH_SOURCE[0]}" | sha256sum | cut -d' ' -f1)
stamp=$venv/equicrypt-tools.sha256
if [ -x "$venv/bin/python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$pins" ]; then
    exit 0
fi
for tool in cc nm readelf; do
    command -v "$tool" >/dev/null || { echo "setup_venv.sh: no '$tool' here; install gcc and binutils" >&2; exit 1; }
done
rm -f "$stamp"
[ -x "$venv/bin/python" ] || "${PYTHON:-python3}" -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: \
    -r "$here/requirements.txt"
site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
"$venv/bin/python" "$here/cuda_stubs.py" "$site"
"$venv/bin/python" -c 'import torch, transformers, xllamacpp; print("torch", torch.__version__, "transformers", transformers.__version__)'
echo "$pins" >"$stamp"
