#!/bin/sh
# The programs that the tests run: checks that they are there and, as root on Debian, installs those that are not.
set -eu

missing=
# need PACKAGE COMMAND...: the package, unless the command succeeds.
need() {
    package=$1
    shift
    "$@" >/dev/null 2>&1 || missing="$missing $package"
}

need build-essential cc --version
need bind9-dnsutils dig -v
need chromium chromium --version
need curl curl --version
# shellcheck disable=SC2016 # the inner shell expands it
need git sh -c 'test -x "$(git --exec-path)/git-http-backend"'
need haproxy haproxy -v
need iproute2 ip -V
need iptables iptables --version
need iputils-ping ping -V
need nftables nft --version
need nghttp2-client nghttp --version
need nghttp2-proxy nghttpx --version
need nodejs node --version
need openssh-client ssh -V
need openssh-server command -v sshd
need openssl openssl version
need prometheus promtool --version
need python3 /usr/bin/python3 --version
need python3-pip /usr/bin/python3 -m pip --version
need python3-websocket /usr/bin/python3 -c 'import websocket'
need python3-websockets /usr/bin/python3 -c 'import websockets'
need socat socat -V
need squid squid -v
need systemd systemd-analyze --version
need util-linux setpriv --version
need wget wget --version

[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "The tests need more programs; on Debian: apt-get install$missing" >&2
    exit 1
fi

echo "installing for the tests:$missing"
# A package must not start a service here, as that of promtool would (policy-rc.d(5): 101 forbids it).
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    trap 'rm -f "$policy"' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# The list of packages is meant to be split.
# shellcheck disable=SC2086
apt-get install -y -qq --no-install-recommends $missing
