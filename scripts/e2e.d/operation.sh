# Sourced by scripts/e2e: upgrades under load, several releases, who may talk to whom, and the end.
# shellcheck shell=bash

under_load() { # under_load SECONDS RATE: the generator in the background, its answer in $out/load.json
  local picture
  picture=$(find "$out/pictures" -name '*.jpg' | sort | sed -n 1p)
  "$binaries/load" "$picture" --address "$(service_ip):8080" --clients 2 --rate "$2" --seconds "$1" > "$out/load.json" &
  generator=$!
}
no_request_failed() {
  wait "$generator"
  cat "$out/load.json"
  python3 -c 'import json, sys; r = json.load(open(sys.argv[1])); print("FIGURE:", r["answered"], "answered,", r["failed"], "failed"); sys.exit(not (r["failed"] == 0 and r["answered"] > 50))' "$out/load.json"
}
roll_under_load() {
  again --set inference.folder=false
  kubectl rollout status deployment edge-inference --timeout 180s
  under_load 60 5
  again --set inference.folder=false --set inference.settings.CONFIDENCE=0.3
  kubectl rollout status deployment edge-inference --timeout 120s
  kubectl rollout restart deployment edge-inference
  kubectl rollout status deployment edge-inference --timeout 120s
  no_request_failed
}

load_balancer() {
  again --set inference.service.type=LoadBalancer
  wait_for 30 says . kubectl get service edge-inference -o 'jsonpath={.status.loadBalancer.ingress[0].ip}'
  local address
  address=$(kubectl get service edge-inference -o 'jsonpath={.status.loadBalancer.ingress[0].ip}')
  kubectl rollout status deployment edge-inference --timeout 180s
  wait_for 30 outside curl -fsS -m 5 "http://$address:8080/v1/model"
  # Both ports at the one address; who is not a pod may not read the other.
  client_pod asker
  ask_from asker "http://$address:8081/readyz"
  kubectl delete pod asker --wait=false
  again
}

network_policy() {
  client_pod friend 'role: friend'
  client_pod stranger
  kubectl rollout status deployment edge-inference --timeout 180s
  wait_for 20 ask_from stranger http://edge-inference:8080/v1/model
  again --set 'networkPolicy.inferenceFrom[0].podSelector.matchLabels.role=friend' --set 'networkPolicy.metricsFrom[0].namespaceSelector.matchLabels.kubernetes\.io/metadata\.name=nowhere'
  # Prometheus anew: what is refused are connections, and it keeps those that it has.
  if there prometheus; then
    kubectl -n monitoring rollout restart deployment prometheus
    kubectl -n monitoring rollout status deployment prometheus --timeout 60s
    wait_for 60 last_scrape 0
  fi
  again --set 'networkPolicy.inferenceFrom[0].podSelector.matchLabels.role=friend' --set 'networkPolicy.metricsFrom[0].namespaceSelector.matchLabels.kubernetes\.io/metadata\.name=monitoring'
  refused() { ! ask_from "$@"; }
  wait_for 20 refused stranger http://edge-inference:8080/v1/model
  wait_for 20 ask_from friend http://edge-inference:8080/v1/model
  refused friend http://edge-inference:8081/metrics
  refused stranger http://edge-inference:8081/metrics
  if there prometheus; then wait_for 60 last_scrape 1; fi
  # The inferer itself asks nobody.
  refused_from_inferer() { ! kubectl exec deploy/edge-inference -c inference -- timeout 5 wget -q -O- "http://$(kubectl get pod friend -o 'jsonpath={.status.podIP}'):1/" 2>&1 | grep -q refused; }
  refused_from_inferer
  # The kubelet's probes pass: the pod is ready.
  kubectl wait --for condition=Ready pod -l app=edge-inference --timeout 30s
  again
  wait_for 20 ask_from stranger http://edge-inference:8080/v1/model
  kubectl delete pod friend stranger --wait=false
}
last_scrape() { # last_scrape 0|1: Prometheus' last look at the inferer failed or succeeded
  says '"value":\[' kubectl get --raw "/api/v1/namespaces/monitoring/services/prometheus:9090/proxy/api/v1/query?query=up%7Bapp%3D%22edge-inference%22%7D%3D%3D$1"
}

# The trainer and the inferer are let in by Pod Security as they are, and run, on a claim of the user's.
restricted() {
  kubectl create namespace strict
  kubectl label namespace strict pod-security.kubernetes.io/enforce=restricted
  kubectl apply -n strict -f - <<END
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: mine}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
END
  helm install strict chart --namespace strict --set monitor.enabled=false,storage.type=existingClaim,storage.existingClaim.name=mine,inference.ingress.enabled=false \
    --set inference.resources.requests.cpu=50m,training.resources.requests.cpu=50m
  kubectl create job -n strict --from=cronjob/edge-training-job train-now
  pods_in() { [ "$(kubectl get pods -n strict -l "$1" -o name | wc -l)" -ge 1 ]; }
  wait_for 30 pods_in app=edge-inference || { kubectl get events -n strict; return 1; }
  kubectl patch cronjob -n strict edge-training-job --dry-run=server -p '{"spec":{"suspend":true}}'
  kubectl get events -n strict | grep -i 'violates PodSecurity' && return 1
  # Of the trainer's pod only the label keeps it away, if anything: it was made.
  wait_for 30 pods_in job-name=train-now
  kubectl wait -n strict --for 'jsonpath={.status.phase}=Running' pod -l app=edge-inference --timeout 60s
  helm uninstall strict --namespace strict
  kubectl delete namespace strict --wait=false
}

two_releases() {
  mkdir -p /mnt/data/second
  kubectl create namespace yolo
  helm install yolo-app chart --namespace yolo --set monitor.nodeLabelKey=other.com/network-status,monitor.adminPort=8082,monitor.checkIntervalSeconds=2 \
    --set storage.hostPath.path=/mnt/data/second,inference.ingress.host=second.example,inference.resources.requests.cpu=50m
  second_online() { [ "$(kubectl get node "$(real_node)" -o 'jsonpath={.metadata.labels.other\.com/network-status}')" = online ]; }
  wait_for 60 second_online
  label_is "$(real_node)" online
  kubectl get pv
  # The first goes on serving while the second comes and goes.
  serves_promoted
  helm uninstall yolo-app --namespace yolo --timeout 5m
  [ -z "$(kubectl get node "$(real_node)" -o 'jsonpath={.metadata.labels.other\.com/network-status}')" ]
  label_is "$(real_node)" online
  serves_promoted
  kubectl delete namespace yolo --wait=false
}

leftovers() {
  local kind
  for kind in $(kubectl api-resources --verbs list -o name | grep -v '^events' | grep -v metrics.k8s.io); do
    kubectl get "$kind" -A -l app.kubernetes.io/name=edgeloop -o name 2>/dev/null
  done
  kubectl get leases -A -o name | grep edgeloop || :
  kubectl get nodes -o yaml | grep 'myapp.com/network-status' || :
}
nothing_left() { [ -z "$(leftovers)" ]; }
uninstall() {
  helm uninstall yolo-app --namespace default --timeout 5m
  wait_for 60 nothing_left || { leftovers; return 1; }
  ls /mnt/data/yolo/models/latest.pt /mnt/data/yolo/models/latest_metadata.json
  ls /mnt/data/yolo/images | grep -q .
}
