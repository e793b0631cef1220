# Sourced by scripts/cluster-node: certificates and the components' files, under $dir/pki and $dir/etc.
# shellcheck shell=bash

authority() { # authority NAME
  [ ! -f "$dir/pki/$1.crt" ] || return 0
  openssl ecparam -name prime256v1 -genkey -noout -out "$dir/pki/$1.key" 2>/dev/null
  openssl req -x509 -new -sha256 -key "$dir/pki/$1.key" -days 365 -subj "/CN=$1" -out "$dir/pki/$1.crt" \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign 2>/dev/null
}
certificate() { # certificate NAME AUTHORITY SUBJECT [ALTERNATIVE-NAMES]
  [ ! -f "$dir/pki/$1.crt" ] || return 0
  openssl ecparam -name prime256v1 -genkey -noout -out "$dir/pki/$1.key" 2>/dev/null
  openssl req -new -sha256 -key "$dir/pki/$1.key" -subj "$3" 2>/dev/null | openssl x509 -req -sha256 -days 365 \
    -CA "$dir/pki/$2.crt" -CAkey "$dir/pki/$2.key" -CAcreateserial -out "$dir/pki/$1.crt" -extfile <(
      printf 'keyUsage=critical,digitalSignature\nextendedKeyUsage=clientAuth,serverAuth\nbasicConstraints=critical,CA:FALSE\n'
      [ -z "${4:-}" ] || echo "subjectAltName=$4"
    ) 2>/dev/null
}
kubeconfig() { # kubeconfig NAME
  cat > "$dir/etc/$1.kubeconfig" <<END
apiVersion: v1
kind: Config
clusters: [{name: node, cluster: {server: "https://$address:6443", certificate-authority-data: $(base64 -w0 "$dir/pki/ca.crt")}}]
users: [{name: $1, user: {client-certificate-data: $(base64 -w0 "$dir/pki/$1.crt"), client-key-data: $(base64 -w0 "$dir/pki/$1.key")}}]
contexts: [{name: node, context: {cluster: node, user: $1}}]
current-context: node
END
  chmod 600 "$dir/etc/$1.kubeconfig"
}

configure() {
  local name
  mkdir -p "$dir"/{pki,etc/cni,etc/registries/_default,images}
  chmod 700 "$dir/pki"
  authority ca; authority front-proxy-ca
  certificate apiserver ca /CN=kube-apiserver "DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local,DNS:localhost,IP:127.0.0.1,IP:10.96.0.1,IP:$address"
  certificate apiserver-kubelet-client ca /O=system:masters/CN=kube-apiserver-kubelet-client
  certificate admin ca /O=system:masters/CN=kubernetes-admin
  certificate controller-manager ca /CN=system:kube-controller-manager
  certificate scheduler ca /CN=system:kube-scheduler
  certificate proxy ca /CN=system:kube-proxy
  certificate kubelet ca "/O=system:nodes/CN=system:node:$node"
  certificate kubelet-server ca "/O=system:nodes/CN=system:node:$node" "DNS:$node,IP:$address"
  certificate front-proxy-client front-proxy-ca /CN=front-proxy-client
  if [ ! -f "$dir/pki/sa.pub" ]; then
    openssl genrsa -out "$dir/pki/sa.key" 2048 2>/dev/null
    openssl rsa -in "$dir/pki/sa.key" -pubout -out "$dir/pki/sa.pub" 2>/dev/null
  fi
  for name in admin controller-manager scheduler proxy kubelet; do kubeconfig "$name"; done
  : > "$dir/etc/resolv.conf"
  # An image that was not brought in is looked for at a closed local port: refused at once, and nothing leaves.
  printf 'server = "http://127.0.0.1:1"\n[host."http://127.0.0.1:1"]\n  capabilities = ["pull", "resolve"]\n' > "$dir/etc/registries/_default/hosts.toml"
  cat > "$dir/etc/containerd.toml" <<END
version = 2
root = "$dir/containerd"
state = "/run/containerd/state"
oom_score = 0
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.internal.v1.opt", "io.containerd.tracing.processor.v1.otlp"]
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  restrict_oom_score_adj = true          # without CAP_SYS_RESOURCE scores can only go up
  disable_apparmor = true
  stream_server_address = "127.0.0.1"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "$unpacked/root/usr/lib/cni"
    conf_dir = "$dir/etc/cni"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "$dir/etc/registries"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        BinaryName = "$dir/bin/runc"
        Root = "/run/runc"
        SystemdCgroup = false
END
  cat > "$dir/etc/cni/10-bridge.conflist" <<END
{"cniVersion":"0.4.0","name":"pods","plugins":[
 {"type":"bridge","bridge":"pods0","isGateway":true,"isDefaultGateway":true,"hairpinMode":true,
  "ipam":{"type":"host-local","dataDir":"/run/cni-addresses","ranges":[[{"subnet":"$pods.0/24","rangeStart":"$pods.10","rangeEnd":"$pods.250","gateway":"$pods.1"}]]}},
 {"type":"portmap","capabilities":{"portMappings":true}}]}
END
  cat > "$dir/etc/kubelet.yaml" <<END
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $address
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $dir/pki/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: $dir/pki/kubelet-server.crt
tlsPrivateKeyFile: $dir/pki/kubelet-server.key
cgroupDriver: cgroupfs
failCgroupV1: false
failSwapOn: false
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
clusterDomain: cluster.local
clusterDNS: [$dns]
resolvConf: $dir/etc/resolv.conf
healthzBindAddress: 127.0.0.1
oomScoreAdj: 0
serializeImagePulls: false
makeIPTablesUtilChains: false
maxOpenFiles: $(ulimit -Hn | grep -E '^[0-9]+$' || echo 1000000)
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%}
END
  cat > "$dir/etc/proxy.yaml" <<END
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: {kubeconfig: $dir/etc/proxy.kubeconfig}
mode: nftables
clusterCIDR: $pods.0/24
hostnameOverride: $node
oomScoreAdj: 0
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
healthzBindAddress: 127.0.0.1:10256
metricsBindAddress: 127.0.0.1:10249
nftables: {minSyncPeriod: 200ms}
END
}
