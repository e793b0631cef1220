# Sourced by scripts/e2e: what the user's manual shows, typed as it stands there.
# shellcheck shell=bash

manual_storage() {
  mkdir -p /mnt/data/yolo/models
  mkdir -p /mnt/data/yolo/images
  chmod -R 777 /mnt/data/yolo
  pictures 60 0
  cp -r "$out"/pictures/* /mnt/data/yolo/images/
}
manual_install() {
  cd chart
  helm install yolo-app . --namespace default
}
online_somewhere() { kubectl get nodes --show-labels | grep network-status | grep -q network-status=online; }
manual_online() { wait_for 90 online_somewhere; }
manual_checks() {
  says edge-ml-monitor-daemonset kubectl get daemonset edge-ml-monitor-daemonset
  kubectl get nodes --show-labels | grep network-status
  says '0 \*/3 \* \* \*' kubectl get cronjob edge-training-job
  says edge-inference kubectl get deployment edge-inference
  wait_for 60 says Bound kubectl get pv,pvc
  kubectl get pv,pvc
  says edge-inference-ingress kubectl get ingress edge-inference-ingress
  says network-status=online kubectl get nodes --show-labels
  ls -la /mnt/data/yolo
}
manual_logs() {
  says . kubectl logs -l component=monitor
  # Its container starts after the one that makes the folders.
  wait_for 60 says . kubectl logs -l app=edge-inference
  kubectl logs -l app=edge-inference
}

# Two epochs at 160 pixels take seconds; how good the model is, is not asked here. The toleration opens the pretended node too: what keeps
# trainings off it is the label alone.
quick=(--set "training.epochs=2,training.settings.IMGSZ=160,training.settings.GATE_MIN_MAP50=0,training.settings.FORCE_PROMOTE=true"
  --set "training.resources.requests.cpu=100m,training.resources.requests.memory=256Mi"
  --set "training.tolerations[0].key=kwok.x-k8s.io/node,training.tolerations[0].operator=Exists"
  --set "monitor.checkIntervalSeconds=2,inference.checkModelSeconds=2,inference.resources.requests.cpu=100m,inference.device=cpu")
again() { helm upgrade yolo-app chart --namespace default --reset-values "${quick[@]}" "$@"; }
quick_training() {
  again
  kubectl rollout status daemonset edge-ml-monitor-daemonset --timeout 120s
  wait_for 60 online_somewhere
}
second_node() {
  if [ "$E2E_CLUSTER" = own ]; then
    "$root/scripts/cluster-node" inside "$cluster" pretend edge-2
    kubectl label node edge-2 myapp.com/network-status=offline
  fi
  says offline kubectl get nodes -L myapp.com/network-status
}
train() {
  kubectl create job --from=cronjob/edge-training-job train-now
  completes train-now 300
  local where
  where=$(kubectl get pod "$(pod_of train-now)" -o 'jsonpath={.spec.nodeName}')
  echo "trained on $where"
  label_is "$where" online
  if [ "$E2E_CLUSTER" = own ]; then
    [ "$where" = "$(real_node)" ]
    ls -la /mnt/data/yolo/models/
    ls /mnt/data/yolo/models/model_*_*.pt /mnt/data/yolo/models/latest.pt /mnt/data/yolo/models/latest_metadata.json
  fi
  says . kubectl logs -l app=edge-training-job
}
swapped() {
  kubectl rollout status deployment edge-inference --timeout 120s
  wait_for 60 serves_promoted
  # What the log says of the version that serves.
  says "$(served)" kubectl logs -l app=edge-inference --tail 400
}
infer_from_pod() {
  body "$out/body.json"
  client_pod asker
  says '"detections"' ask_from asker http://edge-inference:8080/infer "$out/body.json"
  says '"class"' ask_from asker 'http://edge-inference:8080/infer?confidence=0.0001' "$out/body.json"
  kubectl delete pod asker --wait=false
}
infer_from_outside() {
  body "$out/body.json"
  local address
  wait_for 30 says . kubectl get ingress edge-inference-ingress -o 'jsonpath={.status.loadBalancer.ingress[0].ip}'
  address=$(kubectl get ingress edge-inference-ingress -o 'jsonpath={.status.loadBalancer.ingress[0].ip}')
  wait_for 30 outside curl -fsS -X POST "http://$address/infer" -H "Content-Type: application/json" -d "@$out/body.json"
  says '"detections"' outside curl -fsS -X POST "http://$address/infer" -H "Content-Type: application/json" -d "@$out/body.json"
  # Only what the Ingress names.
  fails outside curl -fsS -m 5 "http://$address/v1/models"
}
hot_reload() {
  local before restarts started
  before=$(served)
  restarts=$(kubectl get pods -l app=edge-inference -o 'jsonpath={.items[*].metadata.name} {.items[*].status.containerStatuses[*].restartCount}')
  pictures 70 1
  cp -r "$out"/pictures/* /mnt/data/yolo/images/
  kubectl create job --from=cronjob/edge-training-job train-again
  completes train-again 300
  started=$SECONDS
  wait_for 60 serves_promoted
  figure "served $((SECONDS - started)) s after the training's end was seen"
  [ "$(served)" != "$before" ]
  [ "$restarts" = "$(kubectl get pods -l app=edge-inference -o 'jsonpath={.items[*].metadata.name} {.items[*].status.containerStatuses[*].restartCount}')" ]
}
# Not on the pretended node, which is open to agents and trainings: pods only seem to run there.
helm_test() {
  again --set training.tolerations=null
  kubectl rollout status deployment edge-inference --timeout 180s
  helm test yolo-app --namespace default --timeout 5m
  again
}
