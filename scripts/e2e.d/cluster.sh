# Sourced by scripts/e2e: the cluster, and what steps ask of it.
# shellcheck shell=bash

node_up() { scripts/cluster-node up "$cluster"; }
import_images() {
  local image
  for image in edge-agent edge-trainer edge-inference; do
    [ -f "target/images/$image.tar" ] || { echo "target/images/$image.tar is missing: make images"; return 1; }
    scripts/cluster-node import "$cluster" "target/images/$image.tar"
  done
}
# shellcheck disable=SC2086
add_ons() { scripts/cluster-node add "$cluster" $ADDONS; }

label_of() { kubectl get node "$1" -o 'jsonpath={.metadata.labels.myapp\.com/network-status}'; }
label_is() { [ "$(label_of "$1")" = "$2" ]; }
real_node() { kubectl get nodes -l '!type' -o 'jsonpath={.items[0].metadata.name}'; }
store() { echo /mnt/data/yolo; }

gateway_down() { ip -n gateway link set eth0 down; }
gateway_up() { ip -n gateway link set eth0 up; ip -n gateway route replace default via 192.168.1.2; }
# As somebody on the other side of the node's network sees it.
outside() { ip netns exec gateway "$@"; }

job_state() { kubectl get job "$1" -o 'jsonpath={range .status.conditions[?(@.status=="True")]}{.type} {end}'; }
job_complete() { [[ "$(job_state "$1")" == *Complete* ]]; }
job_ended() { [[ "$(job_state "$1")" == *Complete* || "$(job_state "$1")" == *Failed* ]]; }
completes() { # completes JOB SECONDS
  wait_for "$2" job_ended "$1"
  kubectl logs "job/$1" --all-containers --tail 15 || :
  job_complete "$1" || { kubectl describe job "$1" | tail -n 20; return 1; }
}
pod_of() { kubectl get pods -l "job-name=$1" -o 'jsonpath={.items[0].metadata.name}'; }
unschedulable() { # unschedulable JOB
  [ "$(kubectl get pods -l "job-name=$1" -o 'jsonpath={.items[0].status.conditions[?(@.type=="PodScheduled")].reason}')" = Unschedulable ]
}
scheduled() { [ -n "$(kubectl get pods -l "job-name=$1" -o 'jsonpath={.items[*].spec.nodeName}')" ]; }

# The version that serves, as the inferer's API has it.
service_ip() { kubectl get service "${1:-edge-inference}" ${2:+-n "$2"} -o 'jsonpath={.spec.clusterIP}'; }
served() { curl -fsS -m 5 "http://$(service_ip):8080/v1/model" | python3 -c 'import json, sys; print(json.load(sys.stdin)["version"])'; }
promoted() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["version"])' "$(store)/models/latest_metadata.json"; }
serves_promoted() { [ "$(served)" = "$(promoted)" ]; }
# New pictures: without any a training has nothing to do.
pictures() { "$binaries/draw-counter" "$out/pictures" --images "$1" --seed "$2"; }

client_pod() { # client_pod NAME [LABEL: VALUE] [NAMESPACE]
  kubectl ${3:+-n "$3"} apply -f - <<END
apiVersion: v1
kind: Pod
metadata: {name: $1, labels: {${2:-role: stranger}}}
spec:
  terminationGracePeriodSeconds: 1
  tolerations: []
  containers:
    - {name: client, image: "$client", imagePullPolicy: IfNotPresent, command: [sleep, "3600"]}
END
  kubectl ${3:+-n "$3"} wait --for condition=Ready "pod/$1" --timeout 60s
}
ask_from() { # ask_from POD URL [FILE]: GET, or POST of a JSON body
  if [ -n "${3:-}" ]; then
    kubectl exec -i "$1" -- sh -c "cat > /tmp/body && timeout 20 wget -q -O- --header 'Content-Type: application/json' --post-file /tmp/body '$2'" < "$3"
  else
    kubectl exec "$1" -- timeout 5 wget -q -O- "$2"
  fi
}
body() { # body FILE: a request with the first picture
  local picture
  picture=$(find "$out/pictures" -name '*.jpg' | sort | sed -n 1p)
  printf '{"image": "%s"}' "$(base64 -w0 "$picture")" > "$1"
}
