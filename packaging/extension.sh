#!/bin/sh
# Builds the PHP extension outside its source directory: phpize leaves some forty files behind, which
# have no place in a working copy. The result is copied to php-ext/modules/holdfast.so.
#
#   packaging/extension.sh STAGE_DIR BUILD_DIR
#
# The library is linked in statically, so that one file is the whole extension; LINK=shared links
# libholdfast.so.0 instead. A second call with nothing changed runs neither phpize nor configure.
set -eu
# This script calls make itself; the flags of an outer make (-n, its job server) are not for that one.
unset MAKEFLAGS MFLAGS MAKELEVEL

stage=$(cd "$1" && pwd)
build=$2
here=$(cd "$(dirname "$0")/.." && pwd)
php_config=${PHP_CONFIG:-php-config}
phpize=$(printf '%s' "$php_config" | sed 's/php-config/phpize/')
link=${LINK:-static}

case $link in
static) link_option=--enable-holdfast-static ;;
shared) link_option=--disable-holdfast-static ;;
*) echo "holdfast: LINK is static or shared, not '$link'" >&2; exit 1 ;;
esac

mkdir -p "$build"
build=$(cd "$build" && pwd)
source=$here/php-ext

# Copy what changed, and forget what is gone, so that a removed test does not live on in the copy.
# Named by kind, because whoever has run phpize in the source directory has left its products there.
(
    cd "$source"
    find . \( -path ./modules -o -path ./build -o -path ./include -o -path ./autom4te.cache -o -name .libs \) -prune -o \
        -type f \( -name '*.[ch]' -o -name '*.stub.php' -o -name '*.md' -o -name '*.json' -o -name config.m4 \
        -o -path './tests/*' \) ! -name config.h ! -name '*.diff' ! -name '*.exp' ! -name '*.log' ! -name '*.out' -print
) | sort >"$build.files"
while IFS= read -r file; do
    mkdir -p "$build/$(dirname "$file")"
    cmp -s "$source/$file" "$build/$file" || cp -p "$source/$file" "$build/$file"
done <"$build.files"
if [ -f "$build.copied" ]; then
    comm -13 "$build.files" "$build.copied" | while IFS= read -r file; do rm -f "$build/$file"; done
fi
mv "$build.files" "$build.copied"

cd "$build"
# What configure was told and by whom: when one of these changes, configure runs again from nothing.
facts=$("$php_config" --version; "$php_config" --phpapi; "$php_config" --extension-dir
    printf '%s\n' "$link" "$stage" "${CFLAGS:-}"; cksum <config.m4)
if [ ! -f Makefile ] || [ ! -f .configured ] || [ "$(cat .configured)" != "$facts" ]; then
    [ ! -f Makefile ] || make -s distclean >/dev/null 2>&1 || true
    "$phpize" >phpize.log 2>&1 || { cat phpize.log >&2; exit 1; }
    PKG_CONFIG_PATH=$stage/lib/pkgconfig ./configure --quiet --with-php-config="$(command -v "$php_config")" \
        --with-holdfast="$stage" "$link_option" >configure.log 2>&1 || { cat configure.log >&2; exit 1; }
    printf '%s\n' "$facts" >.configured
fi

# phpize's Makefile does not know the library and the header: a newer one must reach the extension.
for input in "$stage/lib/libholdfast.a" "$stage/lib/libholdfast.so.0" "$stage/include/holdfast.h"; do
    if [ -f modules/holdfast.so ] && [ "$input" -nt modules/holdfast.so ]; then
        make -s clean >/dev/null
        break
    fi
done
make -s ${JOBS:+-j"$JOBS"} >make.log 2>&1 || { cat make.log >&2; exit 1; }
grep -E 'warning:' make.log >&2 || true

mkdir -p "$source/modules"
cmp -s modules/holdfast.so "$source/modules/holdfast.so" || {
    cp modules/holdfast.so "$source/modules/holdfast.so.new"
    mv "$source/modules/holdfast.so.new" "$source/modules/holdfast.so"
}
