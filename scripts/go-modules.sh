# Sourced by scripts/cluster and scripts/cluster-program: programs from Go modules, as a main module of our own that requires theirs.
# shellcheck shell=bash

kubernetes=1.34.4   # k8s.io/kubernetes; its staging modules are v0.34.4

need_go() { command -v go >/dev/null || die "Go is missing (1.26 or newer); or set KUBECONFIG to a cluster of yours"; }
# The settings of every build. DIR gets gigabytes of modules and objects, thrown away after.
go_under() { # go_under DIR
  export GOMODCACHE=$1/modules GOCACHE=$1/objects
  export GOFLAGS="-mod=mod -modcacherw -buildvcs=false" GOTOOLCHAIN=local CGO_ENABLED=0 GOWORK=off
}
source_of() { # source_of MODULE VERSION: the folder that it is downloaded to
  local source
  source=$(go mod download -json "$1@v$2" | sed -n 's/.*"Dir": "\(.*\)",\{0,1\}$/\1/p') || :
  [ -n "$source" ] || die "cannot download $1@v$2"
  echo "$source"
}

# A main module with the module's own go.mod: every version and replacement as it is built upstream. A bare `require` would not do: a
# library that upstream leaves unpinned drifts until it no longer compiles. Replacements by a path inside their repository mean nothing here.
wrap() { # wrap DIR MODULE VERSION
  local source
  source=$(source_of "$2" "$3")
  mkdir -p "$1"
  awk -v require="require $2 v$3" '
    /^module / {print "module local/wrapped"; next}
    /=> \.\.?\// {next}
    /^(tool|ignore|retract) \(/ {skip = 1}
    skip {if (/^\)/) skip = 0; next}
    /^(tool|ignore|retract) / {next}
    {print}
    END {print require}' "$source/go.mod" > "$1/go.mod"
  cp "$source/go.sum" "$1/go.sum"
  chmod u+w "$1/go.sum"
}

compile() { # compile PROGRAM PACKAGE [LDFLAGS], in a main module's folder; PROGRAM is the path that it gets
  [ ! -x "$1" ] || return 0
  local started=$SECONDS
  go build -trimpath -ldflags "-s -w ${3:-}" -o "$1.new" "$2" || die "building $(basename "$1") failed"
  mv "$1.new" "$1"
  say "built $(basename "$1") in $((SECONDS - started)) s"
}

# A main module that requires Kubernetes as its own go.mod does, with the staging folders replaced by what was published of them.
wrap_kubernetes() { # wrap_kubernetes DIR
  local dir=$1 source
  [ ! -f "$dir/go.sum" ] || return 0
  mkdir -p "$dir"
  source=$(source_of k8s.io/kubernetes "$kubernetes")
  awk -v staged="v0.${kubernetes#1.}" -v whole="v$kubernetes" '
    /^module /       {print "module local/kubernetes"; next}
    /=> \.\/staging/ {sub(/^replace /, ""); sub(/^[ \t]+/, ""); modules[$1] = 1; next}
    /^replace \(/    {inside = 1; next}
    inside && /^\)/  {inside = 0; next}
    inside           {sub(/^[ \t]+/, ""); if ($0 != "") print "replace " $0; next}
    {print}
    END {print "require k8s.io/kubernetes " whole; for (m in modules) print "replace " m " => " m " " staged}' \
    "$source/go.mod" > "$dir/go.mod"
  cp "$source/go.sum" "$dir/go.sum"
  chmod u+w "$dir/go.sum"
}
# What `--version` of its programs says.
kubernetes_flags() {
  local package flags=""
  for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    flags+=" -X $package.gitVersion=v$kubernetes -X $package.gitMajor=1 -X $package.gitMinor=$(cut -d. -f2 <<< "$kubernetes") -X $package.gitTreeState=clean -X $package.buildDate=2026-01-01T00:00:00Z"
  done
  echo "$flags"
}
