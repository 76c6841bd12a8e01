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
need logrotate logrotate --version
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

# A curl that speaks HTTP/2 to a proxy (8.1) beside the system's, where that is older: Debian 12 has one in its backports.
# Nothing of the system changes, and nobody has to be root for it.
curl_of_backports() {
    place=${CARGO_TARGET_DIR:-target}/programs/curl
    if curl --help all 2>/dev/null | grep -q -e --proxy-http2 || [ -x "$place/usr/bin/curl" ]; then
        return
    fi
    # shellcheck disable=SC1091
    suite=$(. /etc/os-release && echo "$VERSION_CODENAME-backports")
    # shellcheck disable=SC2016 # apt-get expands it
    archive=$(apt-get indextargets --format '$(REPO_URI)' "Codename: ${suite%-backports}" | head -n 1)
    own=$(mktemp -d)
    mkdir -p "$own/lists/partial"
    echo "deb $archive $suite main" >"$own/sources.list"
    options="-o Dir::Etc::SourceList=$own/sources.list -o Dir::Etc::SourceParts=/dev/null -o Dir::State::Lists=$own/lists"
    options="$options -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o APT::Sandbox::User="
    echo "getting for the tests: curl of $suite"
    # The options are meant to be split.
    # shellcheck disable=SC2086
    if ! { apt-get $options update -qq && (cd "$own" && apt-get $options download -qq "curl/$suite" "libcurl4/$suite"); }; then
        echo "The tests need curl 8.1 or newer, which can speak HTTP/2 to a proxy; $suite could not be had" >&2
        exit 1
    fi
    mkdir -p "$place"
    for package in "$own"/*.deb; do
        dpkg-deb --extract "$package" "$place"
    done
    rm -r "$own"
}

if [ -z "$missing" ]; then
    curl_of_backports
    exit 0
fi
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
curl_of_backports
