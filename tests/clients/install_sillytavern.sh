#!/bin/sh
# SillyTavern from the npm registry into a folder of its own, for tests/clients/test_sillytavern.py (about 450 MB).
set -eu
folder=${1:?usage: install_sillytavern.sh FOLDER}
version=1.19.0
mkdir -p "$folder"
cd "$folder"
npm pack --silent "sillytavern@$version"
# Unpacked rather than installed as a dependency: it reads its libraries from its own folder only.
tar -xzf "sillytavern-$version.tgz" --strip-components=1
rm "sillytavern-$version.tgz"
npm install --omit=dev --ignore-scripts --no-audit --no-fund --no-package-lock
