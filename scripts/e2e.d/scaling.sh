# Sourced by scripts/e2e: autoscaling for real.
# shellcheck shell=bash

replicas_at_least() { [ "$(kubectl get deployment edge-inference -o 'jsonpath={.spec.replicas}')" -ge "$1" ]; }
replicas_are() { [ "$(kubectl get deployment edge-inference -o 'jsonpath={.spec.replicas}')" = "$1" ]; }
scale() { # scale SET…: from 1 up under load, and back
  local started
  again --set inference.folder=false,inference.autoscaling.enabled=true,inference.autoscaling.minReplicas=1,inference.autoscaling.maxReplicas=3,inference.autoscaling.scaleDownSeconds=5 "$@"
  kubectl scale deployment edge-inference --replicas 1
  kubectl rollout status deployment edge-inference --timeout 180s
  under_load 130 20
  started=$SECONDS
  wait_for 120 replicas_at_least 2 || { kubectl describe hpa edge-inference; kill "$generator"; return 1; }
  figure "2 replicas asked for after $((SECONDS - started)) s"
  kill "$generator"; wait "$generator" || :
}
hpa_cpu() {
  local started
  scale --set inference.autoscaling.cpuRequest=100m,inference.autoscaling.cpuPercent=60
  started=$SECONDS
  wait_for 150 replicas_are 1 || { kubectl describe hpa edge-inference; return 1; }
  figure "1 again $((SECONDS - started)) s after the load's end"
}
hpa_fps() {
  scale --set inference.autoscaling.cpuPercent=0,inference.autoscaling.inferFps=2
  kubectl get --raw '/apis/custom.metrics.k8s.io/v1beta2/namespaces/default/pods/*/ei_infer_fps'
  again
  wait_for 60 serves_promoted
}
