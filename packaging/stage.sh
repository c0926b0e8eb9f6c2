#!/bin/sh
# Lays what was built out as it will be installed, so that the extension and the C tests are built
# against the same header, library names and pkg-config file that a user gets.
#
#   packaging/stage.sh TARGET_RELEASE_DIR STAGE_DIR
#
# A file that has not changed keeps its time stamp: whoever depends on it is not built again.
set -eu

release=$1
stage=$2
here=$(cd "$(dirname "$0")/.." && pwd)
soname=libholdfast.so.0

place() { # place FILE AS
    cmp -s "$1" "$2" || { cp "$1" "$2.new" && mv "$2.new" "$2"; }
}

mkdir -p "$stage/bin" "$stage/include" "$stage/lib/pkgconfig"
stage=$(cd "$stage" && pwd)

# A library without its SONAME would be recorded in programs by its file name, and break them at the
# first incompatible version.
if command -v readelf >/dev/null 2>&1; then
    readelf -d "$release/libholdfast.so" | grep -q "SONAME.*\[$soname\]" || {
        echo "holdfast: $release/libholdfast.so does not carry the SONAME $soname" >&2
        exit 1
    }
fi

place "$here/include/holdfast.h" "$stage/include/holdfast.h"
place "$release/libholdfast.so" "$stage/lib/$soname"
place "$release/libholdfast.a" "$stage/lib/libholdfast.a"
ln -sfn "$soname" "$stage/lib/libholdfast.so"
place "$release/holdfastd" "$stage/bin/holdfastd"
place "$release/holdfast" "$stage/bin/holdfast"

version=$("$here/packaging/version.sh")
sed -e "s|@PREFIX@|$stage|" -e "s|@VERSION@|$version|" "$here/packaging/holdfast.pc.in" >"$stage/pc.new"
place "$stage/pc.new" "$stage/lib/pkgconfig/holdfast.pc"
rm -f "$stage/pc.new"
