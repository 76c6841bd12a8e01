#!/bin/bash
# Runs a binary as the image would: alone in a root that nobody may write to, as a user that owns nothing.
# usage: tests/image.sh BINARY
set -euo pipefail

binary=$1
work=$(mktemp -d)
root=$work/root
child=
clean() {
    [ -z "$child" ] || kill -KILL "$child" 2>/dev/null || true
    chmod -R u+w "$work"
    rm -rf "$work"
}
trap clean EXIT
fail() {
    echo "$1" >&2
    cat "$work/log" >&2
    exit 1
}

mkdir -p "$root/etc"
cp "$binary" "$root/exeat"
# What a container is given by its platform.
echo "nameserver 127.0.0.1" >"$root/etc/resolv.conf"
echo "127.0.0.1 localhost" >"$root/etc/hosts"
# A static binary, as the image has, needs none of these.
for library in $(ldd "$binary" 2>/dev/null | grep -o '/[^ ]*' || true); do
    mkdir -p "$root$(dirname "$library")"
    cp -L "$library" "$root$library"
done
chmod -R a-w,a+rX "$root"
chmod 755 "$work"

# In a mount namespace the root is read-only for everyone; where none may be made, it is so by its owner and modes.
# shellcheck disable=SC2016 # the inner shell expands it
enter='mount --bind "$0" "$0" && mount -o remount,bind,ro,nosuid,nodev "$0" && exec chroot "$@"'
if [ "$(id -u)" != 0 ]; then
    start=(unshare --user --map-root-user --mount sh -c "$enter" "$root" "$root")
elif unshare --mount true 2>/dev/null; then
    start=(setpriv --no-new-privs unshare --mount sh -c "$enter" "$root" --userspec=65532:65532 "$root")
else
    start=(setpriv --no-new-privs chroot --userspec=65532:65532 "$root")
fi
"${start[@]}" /exeat serve --allow '*.example.com' --listen 127.0.0.1:0 --admin 127.0.0.1:0 >"$work/records" 2>"$work/log" &
child=$!

# The log says where it listens.
address() {
    sed -n "s|.*$1 http://\([0-9.:]*\).*|\1|p" "$work/log"
}
for _ in $(seq 200); do
    admin=$(address "metrics and health are at")
    [ -z "$admin" ] || break
    kill -0 "$child" 2>/dev/null || fail "it did not start"
    sleep 0.05
done
proxy=$(address "clients connect to")
[ -n "$admin" ] || fail "it does not say where it listens"

for page in healthz readyz metrics; do
    curl -sSf --noproxy '*' --max-time 10 "http://$admin/$page" >/dev/null || fail "/$page"
done
code=$(curl -sS --max-time 10 --proxy "http://$proxy" -o /dev/null -w '%{http_code}' http://evil.example/)
[ "$code" = 403 ] || fail "a denied name got $code"
if [ "$(id -u)" = 0 ]; then
    grep -q '^Uid:.65532.65532.65532.65532$' "/proc/$child/status" || fail "it runs as another user"
    grep -q '^CapEff:.0000000000000000$' "/proc/$child/status" || fail "it has capabilities"
fi

kill -TERM "$child"
wait "$child" || fail "it did not stop in order"
child=
grep -q '"reason":"no_rule"' "$work/records" || fail "no record was written"
echo "runs alone in a read-only root: $binary"
