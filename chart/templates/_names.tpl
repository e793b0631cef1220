{{- /* Names and labels. The manual's names, or `<fullnameOverride>-<component>`. */ -}}
{{- define "edgeloop.name" -}}
{{- $root := index . 0 -}}{{- $component := index . 1 -}}
{{- if $root.Values.fullnameOverride -}}
{{ $root.Values.fullnameOverride }}-{{ $component }}
{{- else -}}
{{ get (dict
  "monitor" "edge-ml-monitor-daemonset"
  "agent" "edgeloop-agent"
  "reaper" "edgeloop-reaper"
  "uninstall" "edgeloop-uninstall"
  "test" "edgeloop-test"
  "data" "edge-data"
  "training" "edge-training-job"
  "inference" "edge-inference"
  "ingress" "edge-inference-ingress"
  "rules" "edgeloop-rules"
  "dashboard" "edgeloop-dashboard") $component }}
{{- end -}}
{{- end -}}

{{- /* What belongs to no namespace says whose it is. */ -}}
{{- define "edgeloop.clusterName" -}}
{{ include "edgeloop.name" . }}-{{ (index . 0).Release.Namespace }}
{{- end -}}

{{- define "edgeloop.claimName" -}}
{{- if eq .Values.storage.type "existingClaim" -}}
{{ .Values.storage.existingClaim.name }}
{{- else -}}
{{ include "edgeloop.name" (list . "data") }}
{{- end -}}
{{- end -}}

{{- /* What selects a component's pods; never changes in a release's life. */ -}}
{{- define "edgeloop.selector" -}}
{{- $root := index . 0 -}}{{- $component := index . 1 -}}
app.kubernetes.io/name: edgeloop
app.kubernetes.io/instance: {{ $root.Release.Name }}
{{ if eq $component "training" -}}
app: edge-training-job
{{- else if eq $component "inference" -}}
app: edge-inference
{{- else -}}
component: {{ $component }}
{{- end -}}
{{- end -}}

{{- define "edgeloop.labels" -}}
{{- $root := index . 0 -}}{{- $component := index . 1 -}}
{{ include "edgeloop.selector" . }}
app.kubernetes.io/component: {{ $component }}
app.kubernetes.io/part-of: edgeloop
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ $root.Chart.Name }}-{{ $root.Chart.Version | replace "+" "_" }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end -}}
{{- end -}}

{{- /* The labels of a pod: no versions, so that a new chart alone restarts nothing. */ -}}
{{- define "edgeloop.podLabels" -}}
{{- $root := index . 0 -}}{{- $component := index . 1 -}}
{{ include "edgeloop.selector" . }}
app.kubernetes.io/component: {{ $component }}
app.kubernetes.io/part-of: edgeloop
{{- with (merge (dict) (dig "podLabels" (dict) (get $root.Values $component | default dict)) ($root.Values.commonLabels | default dict)) }}
{{ toYaml . }}
{{- end -}}
{{- end -}}

{{- define "edgeloop.image" -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag }}
{{- end -}}
{{- end -}}
