#!/bin/sh
# Prints the version of the library: the one in Cargo.toml's [package] section, its only home.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
version=$(awk '/^\[/ { inside = ($0 == "[package]") }
    inside && /^version *=/ { gsub(/^[^"]*"|".*$/, ""); print; exit }' "$here/Cargo.toml")
[ -n "$version" ] || { echo "holdfast: no version in the [package] section of Cargo.toml" >&2; exit 1; }
printf '%s\n' "$version"
