# Sourced by scripts/cluster-node: the programs, from Go modules and from Debian packages.
# shellcheck shell=bash

base_programs=(kube-scheduler kubelet kube-proxy pause coredns)
# Nothing of these is installed: they are unpacked into the cache.
debian=(containerd runc containernetworking-plugins busybox-static iptables nftables conntrack ethtool libip4tc2 libip6tc2 libxtables12
  libnetfilter-conntrack3 libnfnetlink0 libnftables1 libnftnl11 libmnl0 libjansson4 libedit2 libseccomp2 libbsd0 libmd0)
unpacked=$cache/programs/debian-1

program_of() { # program_of ADD-ON
  case $1 in
    ingress) echo traefik ;;
    netpol) echo kube-network-policies ;;
    metrics-server | prometheus | prometheus-adapter) echo "$1" ;;
    lb) echo metallb-controller ;;
    *) die "there is no add-on $1: ingress netpol metrics-server prometheus prometheus-adapter lb" ;;
  esac
}

unpack_debian() {
  [ ! -f "$unpacked/complete" ] || return 0
  command -v apt-get >/dev/null || die "apt-get is missing: containerd, runc and the CNI plugins come from Debian packages"
  rm -rf "$unpacked.new"; mkdir -p "$unpacked.new/packages" "$unpacked.new/root"
  (
    cd "$unpacked.new/packages"
    apt-get -q download -o APT::Sandbox::User=root "${debian[@]}" > ../log 2>&1 || { cat ../log >&2; exit 1; }
  ) || die "the packages cannot be downloaded; with stale lists: apt-get update"
  local package
  for package in "$unpacked.new"/packages/*.deb; do dpkg-deb -x "$package" "$unpacked.new/root"; done
  rm -rf "$unpacked.new/packages"
  touch "$unpacked.new/complete"
  rm -rf "$unpacked"; mv "$unpacked.new" "$unpacked"
}

build() { # build [ADD-ON…]
  local names=("${base_programs[@]}") addon
  for addon in "$@"; do names+=("$(program_of "$addon")"); done
  "$scripts/cluster" build
  "$scripts/cluster" helm >/dev/null
  "$scripts/cluster" kwok >/dev/null
  "$scripts/cluster-program" "${names[@]}" >/dev/null
  unpack_debian
}

# One folder for PATH: links to what is in the cache.
gather_programs() {
  local bin=$dir/bin lib tool root=$unpacked/root
  mkdir -p "$bin"
  for tool in "$("$scripts/cluster" bin)"/*; do ln -sfn "$tool" "$bin/"; done
  ln -sfn "$("$scripts/cluster" helm)" "$bin/helm"
  ln -sfn "$("$scripts/cluster" kwok)" "$bin/kwok"
  for tool in "${base_programs[@]}"; do ln -sfn "$("$scripts/cluster-program" "$tool")" "$bin/$tool"; done
  for tool in containerd containerd-shim-runc-v2 ctr; do ln -sfn "$root/usr/bin/$tool" "$bin/$tool"; done
  # Their libraries are unpacked too, so they are told where.
  lib=$root/usr/lib/$(uname -m)-linux-gnu
  wrapper() { # wrapper NAME PROGRAM [ARGUMENT]
    printf '#!/bin/sh\nexport LD_LIBRARY_PATH=%s XTABLES_LIBDIR=%s/xtables\nexec %s "$@"\n' "$lib:$root/lib/$(uname -m)-linux-gnu" "$lib" "${*:2}" > "$bin/$1"
    chmod 755 "$bin/$1"
  }
  for tool in iptables iptables-save iptables-restore ip6tables ip6tables-save ip6tables-restore; do
    wrapper "$tool" "$root/usr/sbin/xtables-nft-multi" "$tool"
  done
  wrapper nft "$root/usr/sbin/nft"
  wrapper conntrack "$root/usr/sbin/conntrack"
  wrapper ethtool "$root/sbin/ethtool"
  wrapper runc "$root/usr/sbin/runc"
}
