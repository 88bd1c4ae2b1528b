# shellcheck shell=sh disable=SC2154
# Fetch and install a release of k3s, on a Pi or in a guest. Sourced, never run; for dash and busybox ash.
#
# Who sources it sets version, architecture, releases (where releases lie) and sha256 (or nothing: the release's own list
# is asked), and says what goes wrong with `say`.

binary=/usr/local/bin/k3s
installed=/var/lib/pimu/k3s-installed
longest_pause=60 # seconds

# keep FILE: standard input becomes FILE, unless it is that already. After a power cut it is the old one or the new one.
keep() {
    mkdir -p "$(dirname "$1")"
    cat >"$1.new"
    if cmp -s "$1.new" "$1"; then
        rm -f "$1.new"
    else
        sync
        mv -f "$1.new" "$1"
    fi
}

# again COMMAND...: until it succeeds, with longer and longer pauses.
again() {
    pause=5
    until "$@"; do
        say "next try in $pause s"
        sleep "$pause"
        pause=$((pause * 2))
        [ "$pause" -le "$longest_pause" ] || pause=$longest_pause
    done
}

# has_token FILE...: an image that others may have comes without.
has_token() {
    for file in "$@"; do
        [ -s "$file" ] || {
            say "there is no token: flash the disk with pimu-build, or write it into $file"
            return 1
        }
    done
}

# download URL FILE: goes on where it was cut off, if the server can (33: it cannot).
download() {
    curl_status=0
    curl --fail --silent --show-error --location --connect-timeout 30 --speed-limit 1 --speed-time 120 \
        --continue-at - --output "$2" "$1" || curl_status=$?
    [ "$curl_status" -ne 0 ] || return 0
    [ "$curl_status" -ne 33 ] || rm -f "$2"
    say "cannot fetch $1 (curl $curl_status)"
    return 1
}

# + is a blank to some servers.
fetch_release() {
    url=$releases/$(printf %s "$version" | sed s/+/%2B/)
    asset=k3s
    [ "$architecture" = amd64 ] || asset=k3s-$architecture
    if [ -z "$sha256" ]; then
        rm -f "$binary.sums"
        download "$url/sha256sum-$architecture.txt" "$binary.sums" || return
        sha256=$(sed -n "s/^\([0-9a-f]\{64\}\)  $asset\$/\1/p" "$binary.sums")
    fi
    [ -n "$sha256" ] || {
        say "$url/sha256sum-$architecture.txt names no $asset"
        return 1
    }
    is_right "$binary.part" || download "$url/$asset" "$binary.part" || return
    is_right "$binary.part" || {
        rm -f "$binary.part"
        say "$url/$asset is not what its checksum says"
        return 1
    }
}

is_right() {
    [ -e "$1" ] && echo "$sha256  $1" | sha256sum -c - >/dev/null 2>&1
}

# The mark is written last: a binary without it may be half of one.
is_installed() {
    [ -x $binary ] && [ "$(cat $installed 2>/dev/null)" = "$version" ]
}

install_k3s() {
    ! is_installed || return 0
    mkdir -p "$(dirname $binary)" "$(dirname $installed)"
    chmod 755 "$(dirname $binary)"
    again fetch_release
    chmod 755 $binary.part
    mv -f $binary.part $binary
    rm -f $binary.sums
    sync
    echo "$version" | keep $installed
}
