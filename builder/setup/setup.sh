#!/bin/sh
# Make this machine ready: Debian packages, the Python environment, the project's keys and secrets. Quick when all is there.
#   setup.sh [WORD...]             WORD selects more lines of packages.txt, such as `bench`
#   setup.sh --missing [WORD...]   only print the packages that would be installed
set -eu
cd "$(dirname "$0")/../.."

action=install
if [ "${1-}" = --missing ]; then
    action=missing
    shift
fi
# dpkg-query obeys DPKG_ROOT too, so that the list can be tried against another system's root.
# shellcheck source=/dev/null
. "${DPKG_ROOT-}/etc/os-release"
words="$(dpkg --print-architecture) ${VERSION_CODENAME-} $*"

# Lines `package lowest-version installed-version` of packages.txt that apply here.
wanted() {
    dpkg-query --show --showformat='${db:Status-Status} ${Package} ${Version}\n' | awk -v words="$words" '
        BEGIN { split(words, list); for (i in list) here[list[i]] = 1 }
        FILENAME == "-" { if ($1 == "installed") installed[$2] = $3; next }
        /^#/ || NF == 0 { next }
        $3 == "-" || (sub(/^!/, "", $3) ? !($3 in here) : $3 in here) {
            name = $1
            sub(/\/.*/, "", name)
            print $1, $2, (name in installed ? installed[name] : "-")
        }' - builder/setup/packages.txt
}

# Any kernel serves libguestfs. A second one might become the one that this machine boots.
has_kernel() {
    for kernel in "${DPKG_ROOT-}"/boot/vmlinu?-*; do
        [ ! -d "${DPKG_ROOT-}/lib/modules/${kernel#*/boot/vmlinu?-}" ] || return 0
    done
    return 1
}

missing() {
    wanted | while read -r package lowest installed; do
        case $package in linux-image-*) ! has_kernel || continue ;; esac
        if [ "$installed" = - ] || { [ "$lowest" != - ] && dpkg --compare-versions "$installed" lt "$lowest"; }; then
            echo "$package"
        fi
    done
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

apt() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get --quiet=2 -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@"
}

# A source of the machine's owner that does not answer is not our concern; a package that is not found then is.
update() {
    apt update || echo "setup: not every package source answered; going on" >&2
}

install_packages() {
    echo "setup: installing $*" >&2
    update
    case " $* " in
    *-backports*)
        # Naming a suite twice with other Signed-By words is an error of apt's, so look before adding it.
        if ! apt-cache policy | grep -q 'n=bookworm-backports'; then
            as_root install -m 0644 builder/setup/pimu-build-backports.sources /etc/apt/sources.list.d/
            update
        fi
        ;;
    esac
    case " $* " in
    *" cloud-init "*)
        # Only its schema is wanted: at its next boot it would set this machine up anew, host keys and all.
        as_root mkdir -p "${DPKG_ROOT-}/etc/cloud"
        as_root touch "${DPKG_ROOT-}/etc/cloud/cloud-init.disabled"
        ;;
    esac
    case " $* " in
    *" network-manager "*)
        # Only nmcli is wanted: NetworkManager itself would take over this machine's network.
        as_root mkdir -p "${DPKG_ROOT-}/etc/systemd/system"
        as_root ln -sf /dev/null "${DPKG_ROOT-}/etc/systemd/system/NetworkManager.service"
        ;;
    esac
    apt install --yes --no-install-recommends "$@"
}

pip() {
    PIP_ROOT_USER_ACTION=ignore .venv/bin/pip --quiet --disable-pip-version-check "$@"
}

# A venv keeps absolute paths and a Python version; the stamp sees it when one of them has changed.
install_python() {
    stamp=.venv/pimu-setup
    locked=builder/setup/requirements-dev.txt
    state="$(cat pyproject.toml "$locked" | cksum) $(/usr/bin/python3 -V) $PWD"
    if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$state" ]; then return; fi
    echo "setup: making .venv" >&2
    # guestfs is not on PyPI: the system's python brings it.
    /usr/bin/python3 -m venv --clear --system-site-packages .venv
    # By hash, the tool that builds our own package included: a registry that was broken into cannot put code here.
    pip install --require-hashes --requirement "$locked"
    pip install --no-deps --no-build-isolation --editable .
    echo "$state" >"$stamp"
}

lacking=$(missing)
if [ "$action" = missing ]; then
    [ -z "$lacking" ] || echo "$lacking"
    exit
fi
# shellcheck disable=SC2086  # one word per package
[ -z "$lacking" ] || install_packages $lacking
install_python
builder/setup/access.sh
