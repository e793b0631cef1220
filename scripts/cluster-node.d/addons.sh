# Sourced by scripts/cluster-node: what edge clusters mostly have beside Kubernetes.
# shellcheck shell=bash

apply_addon() { # apply_addon NAME [SED-EXPRESSION]
  sed -e "s/@node@/$node/g; s/@address@/$address/g" ${2:+-e "$2"} "$parts/addons/$1.yaml" | kubectl apply -f - >/dev/null
}
rolled_out() { # rolled_out NAMESPACE KIND/NAME
  kubectl -n "$1" rollout status "$2" --timeout 180s >/dev/null || { kubectl -n "$1" get pods >&2; die "$2 in $1 does not become ready"; }
}
version_in_cache() { # version_in_cache PROGRAM: what its path ends in
  local path
  path=$("$scripts/cluster-program" "$1"); echo "${path##*/"$1"-}"
}

# Traefik, as k3s has it: class `traefik`, the default one, on ports 80 and 443 of the node.
add_ingress() {
  load_program traefik
  kubectl apply --server-side -f "$cache/programs/traefik-crds-$(version_in_cache traefik).yaml" >/dev/null
  apply_addon ingress
  rolled_out kube-system deployment/traefik
}

# NetworkPolicy is enforced. Fails closed: without its agent, pods that a policy selects get no new connections.
add_netpol() {
  local without_queue=0
  [ "$(cat /proc/sys/net/bridge/bridge-nf-call-iptables 2>/dev/null)" = 1 ] || die "the kernel module br_netfilter is needed: pods share one bridge"
  nft 'table inet queue-asked { chain c { queue num 1 bypass; }; }' 2>/dev/null || without_queue=1
  nft delete table inet queue-asked 2>/dev/null || :
  load_program kube-network-policies 0:0
  apply_addon netpol "s/@xt@/$without_queue/"
  rolled_out kube-system daemonset/kube-network-policies
  # It marks connections that it let through together with its verdict, which takes CONFIG_NETFILTER_NETLINK_GLUE_CT. Where the kernel lacks
  # that, answers are judged as if they were connections of their own, and a pod that may connect to nobody could answer nobody. So
  # everything that has come past its chain gets the mark after it: what it refused does not get here.
  nft 'table inet policies-passed { chain postrouting { type filter hook postrouting priority srcnat - 4; policy accept; ct label set 28; }; }'
}

add_metrics_server() {
  load_program metrics-server
  apply_addon metrics-server
  rolled_out kube-system deployment/metrics-server
  wait_for 90 "node metrics" kubectl top node "$node"
}

# Scrapes pods by their `prometheus.io/*` annotations. Rules of one's own: ConfigMap monitoring/prometheus-rules.
add_prometheus() {
  load_program prometheus 65534:65534
  apply_addon prometheus
  rolled_out monitoring deployment/prometheus
}

# custom.metrics.k8s.io of that Prometheus: gauges of pods by their own names.
add_prometheus_adapter() {
  kubectl -n monitoring get service prometheus >/dev/null 2>&1 || die "prometheus-adapter asks prometheus: add that first"
  load_program prometheus-adapter
  apply_addon prometheus-adapter
  rolled_out monitoring deployment/prometheus-adapter
  wait_for 90 "custom.metrics.k8s.io" kubectl wait --for=condition=Available apiservice/v1beta1.custom.metrics.k8s.io --timeout=2s
}

# MetalLB's controller gives Services of type LoadBalancer an address of 10.98.0.0/28, and kube-proxy answers for it. No speaker: whoever
# is not this node reaches it by a route through the node, as the machine beyond the gateway has.
add_lb() {
  local config
  load_program metallb-controller
  config=$cache/programs/metallb-config-$(version_in_cache metallb-controller)
  kubectl create namespace metallb-system --dry-run=client -o yaml | kubectl apply -f - >/dev/null
  kubectl apply --server-side -f "$config/crd/bases" >/dev/null
  rm -rf "$dir/metallb"; cp -r "$config/rbac" "$dir/metallb"
  echo "namespace: metallb-system" >> "$dir/metallb/kustomization.yaml"
  kubectl apply -k "$dir/metallb" >/dev/null
  kubectl wait --for condition=Established crd/ipaddresspools.metallb.io --timeout 60s >/dev/null
  apply_addon lb
  rolled_out metallb-system deployment/controller
}
