# Sourced by scripts/e2e: the gateway taken away and given back, the agent frozen.
# shellcheck shell=bash

gateway_away() {
  local started=$SECONDS
  gateway_down
  wait_for 60 label_is "$(real_node)" offline
  figure "label offline after $((SECONDS - started)) s"
  pictures 80 2
  cp -r "$out"/pictures/* /mnt/data/yolo/images/
  kubectl create job --from=cronjob/edge-training-job train-offline
  wait_for 30 unschedulable train-offline
  never 10 scheduled train-offline
}
without_affinity() {
  again --set training.requireOnline=false
  kubectl create job --from=cronjob/edge-training-job train-anywhere
  # What held before is seen to fail: this one gets a node though none is online.
  wait_for 30 scheduled train-anywhere
  fails never 3 scheduled train-anywhere
  kubectl delete job train-anywhere --cascade=foreground --timeout 60s
  again
  never 3 scheduled train-offline
}
gateway_back() {
  local started=$SECONDS
  gateway_up
  wait_for 60 label_is "$(real_node)" online
  figure "label online after $((SECONDS - started)) s"
  completes train-offline 300
  [ "$(kubectl get pod "$(pod_of train-offline)" -o 'jsonpath={.spec.nodeName}')" = "$(real_node)" ]
}
# Frozen, not killed: what is killed the kubelet has back within a second. No cause can be told apart from outside.
agent_dead() {
  local agent started
  agent=$(pgrep -f '^/usr/local/bin/edgeloop-agent$' | sed -n 1p)
  [ -n "$agent" ]
  started=$SECONDS
  kill -STOP "$agent"
  wait_for 60 label_is "$(real_node)" offline || { kill -KILL "$agent"; return 1; }
  figure "offline $((SECONDS - started)) s after the agent froze"
  says lease_expired kubectl get node "$(real_node)" -o yaml
  kill -KILL "$agent"
  started=$SECONDS
  wait_for 90 label_is "$(real_node)" online
  figure "online $((SECONDS - started)) s after it was killed and came back"
}
