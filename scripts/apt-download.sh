# Sourced from the top of the clone by scripts that download Debian packages without
# root and without installing them. The script has die and say.

. /etc/os-release
release=${VERSION_CODENAME:-}
case "$release" in
bookworm | trixie) ;;
*) die "this is ${PRETTY_NAME:-an unknown system}; Debian 12 (bookworm) or 13 (trixie) is needed" ;;
esac

# The machine's own apt lists may be old (the version they name is gone from the
# mirror) or lack the security suite (a fresh debootstrap has only main). Then apt
# is asked again with lists of our own, which needs no root either.
aptopts=
apt_own_lists() {
	mirror=$(apt-get indextargets --format '$(REPO_URI)' "Codename: $release" 2>/dev/null | head -n 1)
	mirror=${mirror%/}
	mirror=${mirror:-http://deb.debian.org/debian}
	case "$mirror" in
	*/debian) security=$mirror-security ;;
	*) security=http://deb.debian.org/debian-security ;;
	esac
	apt=$PWD/build/apt
	mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
	key=/usr/share/keyrings/debian-archive-keyring.gpg
	[ -f "$key" ] || die "$key is missing: apt-get install debian-archive-keyring"
	{
		echo "deb [signed-by=$key] $mirror $release main"
		echo "deb [signed-by=$key] $mirror $release-updates main"
		echo "deb [signed-by=$key] $security $release-security main"
	} >"$apt/sources.list"
	aptopts="-o Dir::Etc::SourceList=$apt/sources.list -o Dir::Etc::SourceParts=/dev/null
		-o Dir::State::Lists=$apt/lists -o Dir::Cache=$apt/cache -o APT::Sandbox::User=root"
	say "asking the mirror for its newest packages"
	# shellcheck disable=SC2086 # the options are several words
	apt-get $aptopts -q=2 update || die "apt could not read $mirror: is there a network, and does apt need a proxy (Acquire::http::Proxy)?"
}

# apt_get_download DIRECTORY PACKAGE... downloads from the lists in use.
apt_get_download() {
	dir=$1
	shift
	# shellcheck disable=SC2086
	(cd "$dir" && apt-get $aptopts -q=1 -o APT::Sandbox::User=root download "$@")
}

# apt_download DIRECTORY PACKAGE... downloads from the machine's lists or, when
# those have it not, from new ones.
apt_download() {
	apt_get_download "$@" 2>/dev/null && return
	apt_own_lists
	apt_get_download "$@"
}
