# Sourced by scripts/cluster-node: images of one static program each, made by hand, for what runs as pods.
# shellcheck shell=bash

# An OCI archive of a folder: one layer, tar and sha256sum are all it takes.
pack_image() { # pack_image REFERENCE ROOT OUT.tar CONFIG-JSON
  local work layer config manifest arch
  case $(uname -m) in x86_64) arch=amd64 ;; aarch64) arch=arm64 ;; *) arch=$(uname -m) ;; esac
  work=$(mktemp -d); mkdir -p "$work/blobs/sha256"
  blob() { # blob FILE: moves it to its place; prints "digest size"
    local digest size
    digest=$(sha256sum < "$1" | cut -c1-64); size=$(stat -c %s "$1")
    mv "$1" "$work/blobs/sha256/$digest"; echo "$digest $size"
  }
  tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C "$2" -cf "$work/file" .
  layer=$(blob "$work/file")
  printf '{"architecture":"%s","os":"linux","config":%s,"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' "$arch" "$4" "${layer% *}" > "$work/file"
  config=$(blob "$work/file")
  printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:%s","size":%s},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"sha256:%s","size":%s}]}' \
    "${config% *}" "${config#* }" "${layer% *}" "${layer#* }" > "$work/file"
  manifest=$(blob "$work/file")
  printf '{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:%s","size":%s,"annotations":{"io.containerd.image.name":"%s","org.opencontainers.image.ref.name":"%s"},"platform":{"architecture":"%s","os":"linux"}}]}' \
    "${manifest% *}" "${manifest#* }" "$1" "${1##*:}" "$arch" > "$work/index.json"
  printf '{"imageLayoutVersion":"1.0.0"}' > "$work/oci-layout"
  mkdir -p "$(dirname "$3")"
  tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C "$work" -cf "$3" oci-layout index.json blobs
  rm -rf "$work"
}

# localhost/NAME:1 of one program at /NAME. The tag never changes, since each cluster gets its own.
load_program() { # load_program NAME [USER]
  local root
  root=$(mktemp -d); chmod 755 "$root"
  mkdir -p "$root/tmp"; chmod 1777 "$root/tmp"
  cp -L "$("$scripts/cluster-program" "$1")" "$root/$1"
  pack_image "localhost/$1:1" "$root" "$dir/images/$1.tar" "{\"Entrypoint\":[\"/$1\"],\"User\":\"${2:-65532:65532}\"}"
  rm -rf "$root"
  ctr -n k8s.io images import "$dir/images/$1.tar" >/dev/null
  rm -f "$dir/images/$1.tar"
}

# A shell and wget for pods that ask.
load_busybox() {
  local root applet
  root=$(mktemp -d); chmod 755 "$root"
  mkdir -p "$root"/{bin,etc,tmp,root,proc,sys,dev}; chmod 1777 "$root/tmp"
  cp "$unpacked/root/bin/busybox" "$root/bin/busybox"
  for applet in $("$root/bin/busybox" --list); do [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"; done
  printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n' > "$root/etc/passwd"
  pack_image localhost/busybox:1 "$root" "$dir/images/busybox.tar" '{"Env":["PATH=/bin"],"Cmd":["/bin/sh"]}'
  rm -rf "$root"
  ctr -n k8s.io images import "$dir/images/busybox.tar" >/dev/null
}
