#!/bin/sh
# Installs what `make build` has built, or removes exactly that again.
#
#   packaging/install.sh install|uninstall      (environment: PREFIX, DESTDIR, PHP_CONFIG, STAGE)
#
# It builds nothing, so that `sudo make install` needs no Rust in root's path. It never changes which
# save handler PHP uses, starts or enables no service, and never touches a session or a configuration
# that was changed: all of these are the administrator's.
set -eu

action=${1:?usage: install.sh install|uninstall}
here=$(cd "$(dirname "$0")/.." && pwd)
prefix=${PREFIX:-/usr/local}
destdir=${DESTDIR:-}
php_config=${PHP_CONFIG:-php-config}
stage=${STAGE:-$here/build/stage}
extension=$here/php-ext/modules/holdfast.so
sessions=/var/lib/holdfast
config=/etc/holdfast/holdfast.toml
soname=libholdfast.so.0
units="holdfast.service holdfast@.service holdfast.socket"

PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

say() { printf '%s\n' "$@"; }
die() { printf 'holdfast: %s\n' "$*" >&2; exit 1; }
has() { command -v "$1" >/dev/null 2>&1; }

case $prefix in /*) ;; *) die "PREFIX is an absolute path, not '$prefix'" ;; esac
has "$php_config" || die "$php_config was not found; 'make build' says what to install"

php=$("$php_config" --php-binary)
extension_dir=$("$php_config" --extension-dir)
version=$("$php_config" --version | cut -d. -f1,2)

# Debian enables modules through mods-available and phpenmod; other builds of PHP read one directory.
if [ -d "/etc/php/$version/mods-available" ]; then
    ini=/etc/php/$version/mods-available/holdfast.ini
    debian=yes
else
    conf_d=$("$php" --ini | sed -n 's/^Scan for additional .ini files in: *//p' | cut -d: -f1)
    case $conf_d in /*) ini=$conf_d/holdfast.ini ;; *) ini= ;; esac
    debian=no
fi

put() { # put MODE FILE DESTINATION
    install -d -m 0755 "$(dirname "$destdir$3")"
    # By rename: a PHP that runs keeps the file that it has mapped.
    install -m "$1" "$2" "$destdir$3.new"
    mv -f "$destdir$3.new" "$destdir$3"
    say "  $destdir$3"
}
without_debug() { # without_debug FILE: a copy for installation; the one in the build keeps its symbols
    copy=$scratch/$(basename "$1")
    cp "$1" "$copy"
    if has strip; then strip --strip-debug "$copy"; fi
    printf '%s\n' "$copy"
}
drop() { # drop FILE
    if [ -e "$destdir$1" ] || [ -L "$destdir$1" ]; then
        rm -f "$destdir$1"
        say "  $destdir$1"
    fi
}
with_prefix() { # with_prefix FILE: a copy that names what is installed where it is
    copy=$scratch/$(basename "$1")
    sed -e "s|/usr/bin/holdfastd|$prefix/bin/holdfastd|g" -e "s|/usr/share/doc|$prefix/share/doc|g" "$1" >"$copy"
    printf '%s\n' "$copy"
}
service_config() { # the configuration that the service begins with
    cat <<TOML
# holdfastd as a service. Every option, with its default: $prefix/share/doc/holdfast/holdfast.toml
# This file is checked by: holdfastd --config $config --check-config

store = "$sessions/shared"
listen = "127.0.0.1,unix:/run/holdfast/memcached.sock"
# The socket is for the group holdfast; the users of PHP's pools belong into it.
unix_mask = "660"
TOML
}
refresh_linker() { # a new library is found only after this; a staged tree is not this system's
    if [ -z "$destdir" ] && [ "$(id -u)" -eq 0 ] && has ldconfig; then ldconfig; fi
}

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

do_install() {
    for file in "$stage/include/holdfast.h" "$stage/lib/$soname" "$stage/lib/libholdfast.a" \
        "$stage/bin/holdfastd" "$stage/bin/holdfast" "$extension"; do
        [ -f "$file" ] || die "$file is not there: run 'make build' first (as the user who has Rust)"
    done

    say "installed:"
    put 0644 "$stage/include/holdfast.h" "$prefix/include/holdfast.h"
    put 0644 "$(without_debug "$stage/lib/$soname")" "$prefix/lib/$soname"
    put 0644 "$(without_debug "$stage/lib/libholdfast.a")" "$prefix/lib/libholdfast.a"
    ln -sfn "$soname" "$destdir$prefix/lib/libholdfast.so"
    say "  $destdir$prefix/lib/libholdfast.so"
    sed -e "s|@PREFIX@|$prefix|" -e "s|@VERSION@|$("$here/packaging/version.sh")|" \
        "$here/packaging/holdfast.pc.in" >"$scratch/holdfast.pc"
    put 0644 "$scratch/holdfast.pc" "$prefix/lib/pkgconfig/holdfast.pc"
    refresh_linker

    put 0644 "$(without_debug "$extension")" "$extension_dir/holdfast.so"
    cat >"$scratch/holdfast.ini" <<'INI'
; configuration for the PHP module holdfast
; priority=25
extension=holdfast.so

; Loading the module changes nothing by itself. To keep sessions in Holdfast, set these two in php.ini
; or in the pool's file:
;session.save_handler = holdfast
;holdfast.store = /var/lib/holdfast/www-data
INI
    if [ -n "$ini" ]; then
        put 0644 "$scratch/holdfast.ini" "$ini"
        if [ "$debian" = yes ] && [ -z "$destdir" ] && has phpenmod; then phpenmod -v "$version" holdfast; fi
    else
        say "  (this PHP reads no directory of ini files: add 'extension=holdfast.so' to its php.ini)"
    fi

    install_daemon

    # The parent belongs to root, so that a pool's user can neither rename nor replace another's store.
    install -d -m 0755 "$destdir$sessions"
    if id www-data >/dev/null 2>&1 && [ ! -d "$destdir$sessions/www-data" ]; then
        install -d -m 0700 "$destdir$sessions/www-data"
        # A staged tree may be made without being root; then the package sets the owner.
        if [ "$(id -u)" -eq 0 ]; then chown www-data:www-data "$destdir$sessions/www-data"; fi
    fi
    say "  $destdir$sessions/"

    say "" \
        "PHP $version now has the module; its sessions are still kept where they were. To keep them here," \
        "add these two lines to php.ini or to the pool's file (there as php_admin_value[...] = ...):" \
        "" \
        "    session.save_handler = holdfast" \
        "    holdfast.store = $sessions/www-data" \
        "" \
        "and restart php-fpm. A pool that runs as another user needs a directory of its own:" \
        "    install -d -m 0700 -o USER -g USER $sessions/USER"
    say_how_to_serve
}

install_daemon() {
    for program in holdfastd holdfast; do
        put 0755 "$(without_debug "$stage/bin/$program")" "$prefix/bin/$program"
    done
    for unit in $units; do
        put 0644 "$(with_prefix "$here/packaging/systemd/$unit")" "$prefix/lib/systemd/system/$unit"
    done
    cp "$here/packaging/systemd/sysusers.d/holdfast.conf" "$scratch/sysusers.conf"
    if [ -z "$destdir" ] && ! id www-data >/dev/null 2>&1; then
        # Putting a user into a group makes the user; a staged tree is for another machine.
        sed -i '/^m www-data/d' "$scratch/sysusers.conf"
    fi
    put 0644 "$scratch/sysusers.conf" "$prefix/lib/sysusers.d/holdfast.conf"
    put 0644 "$here/packaging/systemd/tmpfiles.d/holdfast.conf" "$prefix/lib/tmpfiles.d/holdfast.conf"
    put 0644 "$here/packaging/holdfast.toml" "$prefix/share/doc/holdfast/holdfast.toml"
    put 0644 "$here/packaging/systemd/daemon-only.conf" "$prefix/share/doc/holdfast/daemon-only.conf"
    put 0644 "$here/OPERATIONS.md" "$prefix/share/doc/holdfast/OPERATIONS.md"
    put 0644 "$here/daemon/PROTOCOL.md" "$prefix/share/doc/holdfast/PROTOCOL.md"
    if [ -e "$destdir$config" ]; then
        say "  $destdir$config (was there, left as it is)"
    else
        service_config >"$scratch/service.toml"
        put 0644 "$scratch/service.toml" "$config"
    fi
}

say_how_to_serve() {
    case $prefix in
    /usr | /usr/local) link=: ; users="systemd-sysusers holdfast.conf && systemd-tmpfiles --create holdfast.conf" ;;
    *)
        # The service manager does not look below other prefixes by itself.
        link="systemctl link $prefix/lib/systemd/system/holdfast.service"
        users="systemd-sysusers $prefix/lib/sysusers.d/holdfast.conf && systemd-tmpfiles --create $prefix/lib/tmpfiles.d/holdfast.conf"
        ;;
    esac
    say "" \
        "The daemon holdfastd is not started. To try it:" \
        "    install -d -m 0700 ./try && holdfastd --store ./try" \
        "To serve other hosts, containers or users, as a service with a store of its own ($config):" \
        "    $users"
    [ "$link" = : ] || say "    $link"
    say "    systemctl daemon-reload && systemctl enable --now holdfast" \
        "PHP on this machine opens the same store when its user is in the group holdfast:" \
        "    usermod -aG holdfast USER, and holdfast.store = $sessions/shared"
}

do_uninstall() {
    say "removed:"
    if [ "$debian" = yes ] && [ -z "$destdir" ] && [ -f "$ini" ] && has phpdismod; then
        phpdismod -v "$version" holdfast
        # phpdismod notes "disabled by the administrator"; left behind, it would outlive the module.
        rm -f /var/lib/php/modules/"$version"/*/disabled_by_admin/holdfast
    fi
    [ -z "$ini" ] || drop "$ini"
    drop "$extension_dir/holdfast.so"
    drop "$prefix/lib/pkgconfig/holdfast.pc"
    drop "$prefix/lib/libholdfast.so"
    drop "$prefix/lib/$soname"
    drop "$prefix/lib/libholdfast.a"
    drop "$prefix/include/holdfast.h"
    uninstall_daemon
    refresh_linker
    # Empty directories of ours go; one that holds a session stays, whatever is in it.
    for directory in "$destdir$sessions/www-data" "$destdir$sessions/shared" "$destdir$sessions"; do
        rmdir "$directory" 2>/dev/null || true
    done
    [ ! -d "$destdir$sessions" ] || say "" "kept, with the sessions in it: $destdir$sessions"
    say "" "If session.save_handler = holdfast is set somewhere, take it out before the next restart of php-fpm." \
        "A service that runs goes on until it is ended: systemctl disable --now holdfast"
}

uninstall_daemon() {
    for unit in $units; do drop "$prefix/lib/systemd/system/$unit"; done
    drop "$prefix/lib/sysusers.d/holdfast.conf"
    drop "$prefix/lib/tmpfiles.d/holdfast.conf"
    for file in holdfast.toml daemon-only.conf OPERATIONS.md PROTOCOL.md; do
        drop "$prefix/share/doc/holdfast/$file"
    done
    rmdir "$destdir$prefix/share/doc/holdfast" 2>/dev/null || true
    drop "$prefix/bin/holdfastd"
    drop "$prefix/bin/holdfast"
    service_config >"$scratch/service.toml"
    if cmp -s "$scratch/service.toml" "$destdir$config"; then drop "$config"; fi
    [ ! -e "$destdir$config" ] || say "  (kept, because it was changed: $destdir$config)"
    rmdir "$destdir$(dirname "$config")" 2>/dev/null || true
}

case $action in
install) do_install ;;
uninstall) do_uninstall ;;
*) die "usage: install.sh install|uninstall" ;;
esac
