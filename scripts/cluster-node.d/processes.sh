# Sourced by scripts/cluster-node: the namespaces, and what runs in them.
# shellcheck shell=bash

# A pid alone may by now be another's: with its start time it is not.
born() { local stat; stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1; stat=${stat##*) }; set -- $stat; echo "${20}"; }
inside_runs() {
  local pid when
  read -r pid when 2>/dev/null < "$dir/first.pid" || return 1
  [ "$(born "$pid")" = "$when" ]
}
enter() { # enter COMMAND…: in the node's namespaces
  inside_runs || die "no cluster is up in $dir"
  local pid
  read -r pid _ < "$dir/first.pid"
  nsenter --target "$pid" --net --mount --pid -- env --chdir "$PWD" "$@"
}
inside() { enter "$scripts/cluster-node" inside "$dir" "$@"; }

# The first process of the namespaces is `pause`: it collects orphans, and with it all of them end.
enclose() {
  local pid
  setsid unshare --net --mount --pid --fork --mount-proc --propagation private "$dir/bin/pause" < /dev/null > "$dir/first.log" 2>&1 &
  for _ in $(seq 100); do
    pid=$(pgrep -P $! -x pause || :)
    [ -z "$pid" ] || break
    sleep 0.05
  done
  [ -n "$pid" ] || { cat "$dir/first.log" >&2; die "the namespaces cannot be made"; }
  echo "$pid $(born "$pid")" > "$dir/first.pid"
}

network() {
  local place
  mount --make-rshared /
  # The node's own places. Sockets in /run keep below a socket path's 108 characters, however deep DIR lies.
  for place in mnt tmp/hostpath_pv var/log var/lib/kubelet var/lib/cni; do
    mkdir -p "$dir/node/$place" "/$place"
    mount --bind "$dir/node/$place" "/$place"
  done
  mount --make-rshared /var/lib/kubelet
  mount -t tmpfs -o mode=755 tmpfs /run
  mkdir -p /run/netns /run/lock
  ip link set lo up
  ip netns add gateway
  ip link add eth0 type veth peer name eth0 netns gateway
  ip address add "$address/24" dev eth0; ip link set eth0 up
  ip -n gateway address add "$gateway/24" dev eth0; ip -n gateway link set lo up; ip -n gateway link set eth0 up
  ip route add default via "$gateway"
  # The machine beyond the gateway reaches the node's networks through the node.
  ip -n gateway route add default via "$address"
  echo 1 > /proc/sys/net/ipv4/ip_forward
  # Pods share one bridge: without this a packet between two of them passes no filter (NetworkPolicy) and no Service.
  if [ -e /proc/sys/net/bridge/bridge-nf-call-iptables ]; then echo 1 > /proc/sys/net/bridge/bridge-nf-call-iptables; fi
}

launch() { # launch NAME COMMAND…
  local name=$1; shift
  setsid "$@" >> "$dir/$name.log" 2>&1 < /dev/null &
  echo $! > "$dir/$name.pid"
}
wait_for() { # wait_for SECONDS WHAT COMMAND…
  local seconds=$1 what=$2 end=$((SECONDS + $1)); shift 2
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$end" ] || die "no $what after $seconds s; logs in $dir"
    sleep 0.2
  done
}

control_plane() {
  local pki=$dir/pki etc=$dir/etc
  launch etcd etcd --data-dir "$dir/etcd" --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
    --listen-peer-urls http://127.0.0.1:2380 --log-level warn --unsafe-no-fsync
  launch containerd containerd --config "$etc/containerd.toml" --log-level warn
  launch apiserver kube-apiserver --bind-address "$address" --advertise-address "$address" --secure-port 6443 \
    --etcd-servers http://127.0.0.1:2379 --client-ca-file "$pki/ca.crt" --cert-dir "$dir/etc" \
    --tls-cert-file "$pki/apiserver.crt" --tls-private-key-file "$pki/apiserver.key" \
    --authorization-mode Node,RBAC --enable-admission-plugins NodeRestriction --allow-privileged=true --service-cluster-ip-range 10.96.0.0/16 \
    --service-account-issuer https://kubernetes.default.svc.cluster.local --service-account-key-file "$pki/sa.pub" --service-account-signing-key-file "$pki/sa.key" \
    --kubelet-certificate-authority "$pki/ca.crt" --kubelet-client-certificate "$pki/apiserver-kubelet-client.crt" --kubelet-client-key "$pki/apiserver-kubelet-client.key" \
    --kubelet-preferred-address-types InternalIP,Hostname --enable-aggregator-routing=true \
    --requestheader-client-ca-file "$pki/front-proxy-ca.crt" --requestheader-allowed-names front-proxy-client --requestheader-username-headers X-Remote-User \
    --requestheader-group-headers X-Remote-Group --requestheader-extra-headers-prefix X-Remote-Extra- \
    --proxy-client-cert-file "$pki/front-proxy-client.crt" --proxy-client-key-file "$pki/front-proxy-client.key"
  wait_for 120 "API server" kubectl get --raw /readyz
  launch controller-manager kube-controller-manager --kubeconfig "$etc/controller-manager.kubeconfig" --leader-elect=false --use-service-account-credentials \
    --authentication-kubeconfig "$etc/controller-manager.kubeconfig" --authorization-kubeconfig "$etc/controller-manager.kubeconfig" --bind-address 127.0.0.1 \
    --root-ca-file "$pki/ca.crt" --service-account-private-key-file "$pki/sa.key" --cluster-signing-cert-file "$pki/ca.crt" --cluster-signing-key-file "$pki/ca.key" \
    --enable-hostpath-provisioner=true --horizontal-pod-autoscaler-sync-period 5s
  launch scheduler kube-scheduler --kubeconfig "$etc/scheduler.kubeconfig" --authentication-kubeconfig "$etc/scheduler.kubeconfig" \
    --authorization-kubeconfig "$etc/scheduler.kubeconfig" --bind-address 127.0.0.1 --leader-elect=false
  wait_for 30 containerd ctr version
}

node_ready() { [ "$(kubectl get node "$node" -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}')" = True ]; }
join() {
  mkdir -p "$dir/images"
  load_program pause 65535:65535; load_program coredns; load_busybox
  launch kubelet kubelet --config "$dir/etc/kubelet.yaml" --kubeconfig "$dir/etc/kubelet.kubeconfig" --root-dir /var/lib/kubelet --cert-dir "$dir/etc" \
    --hostname-override "$node" --node-ip "$address"
  launch proxy kube-proxy --config "$dir/etc/proxy.yaml"
  sed "s/@node@/$node/; s/@dns@/$dns/" "$parts/dns.yaml" | kubectl apply -f - >/dev/null
  wait_for 120 "node $node" node_ready
  kubectl -n kube-system rollout status deployment/coredns --timeout 120s >/dev/null || die "no cluster DNS; logs in $dir"
}

pretend() { # pretend NAME
  [ -f "$dir/kwok.pid" ] || launch kwok kwok --kubeconfig "$KUBECONFIG" --manage-all-nodes=false \
    --manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake --cidr 10.245.0.1/16 --node-ip "$address" --node-lease-duration-seconds 40
  sed "s/@name@/$1/" "$parts/pretended.yaml" | kubectl apply -f - >/dev/null
  kubectl wait --for condition=Ready "node/$1" --timeout 60s >/dev/null || die "$1 does not become ready; logs in $dir"
}

down() {
  local pid controller
  if inside_runs; then
    read -r pid _ < "$dir/first.pid"
    # Mounts, networks and processes of the namespaces go with their first process.
    kill -KILL "$pid" 2>/dev/null || :
    for _ in $(seq 100); do if ! inside_runs || grep -q '^State:.Z' "/proc/$pid/status" 2>/dev/null; then break; fi; sleep 0.1; done
  fi
  for controller in /sys/fs/cgroup/*/kubepods /sys/fs/cgroup/kubepods; do
    [ ! -d "$controller" ] || find "$controller" -depth -type d -exec rmdir {} \; 2>/dev/null || :
  done
  rm -rf "$dir"
}
