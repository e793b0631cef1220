{{- /* What pods have in common. */ -}}

{{- /* Where a pod goes: nodeSelector, tolerations, and the rest of the component's settings that are set. */ -}}
{{- define "edgeloop.placement" -}}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "edgeloop.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "edgeloop.scrape" -}}
{{- $root := index . 0 -}}{{- $port := index . 1 -}}{{- $annotations := index . 2 -}}
{{- $ours := dict -}}
{{- if $root.Values.metrics.scrapeAnnotations -}}
{{- $ours = dict "prometheus.io/scrape" "true" "prometheus.io/port" (toString $port) "prometheus.io/path" "/metrics" -}}
{{- end -}}
{{- with (merge (dict) ($annotations | default dict) $ours) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- /* A container without any right. */ -}}
{{- define "edgeloop.noRights" -}}
securityContext:
  runAsNonRoot: true
  readOnlyRootFilesystem: true
  allowPrivilegeEscalation: false
  capabilities: {drop: [ALL]}
  seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- /* Its user, and the group that the volume is given to where the volume knows groups. */ -}}
{{- define "edgeloop.podUser" -}}
securityContext:
  runAsUser: {{ .Values.runAs.user }}
  runAsGroup: {{ .Values.runAs.group }}
  fsGroup: {{ .Values.runAs.group }}
  fsGroupChangePolicy: OnRootMismatch
{{- end -}}

{{- /* Probes of an admin port. */ -}}
{{- define "edgeloop.probes" -}}
livenessProbe: {httpGet: {path: /livez, port: admin}, periodSeconds: 20, timeoutSeconds: 5, failureThreshold: 3}
readinessProbe: {httpGet: {path: /readyz, port: admin}, periodSeconds: {{ . }}, timeoutSeconds: 5}
{{- end -}}

{{- /* Values files bring all numbers as floats, and 20000000 as a float prints as 2e+07. */ -}}
{{- define "edgeloop.number" -}}
{{- if and (kindIs "float64" .) (eq (float64 (int64 .)) .) }}{{ int64 . }}{{ else }}{{ . }}{{ end -}}
{{- end -}}

{{- /* `settings` of a component as variables; what the chart itself sets is refused there. */ -}}
{{- define "edgeloop.settings" -}}
{{- $component := index . 0 -}}{{- $settings := index . 1 -}}{{- $taken := index . 2 -}}
{{- range $name, $value := $settings }}
{{- if has $name $taken }}
{{- fail (printf "%s.settings.%s: the chart sets this variable; use its own key in values.yaml" $component $name) }}
{{- end }}
- {name: {{ $name }}, value: {{ include "edgeloop.number" $value | quote }}}
{{- end }}
{{- end -}}

{{- /* Makes the folders of the shared volume where nobody else does. Root owns a new folder, so CHOWN is the one right that this takes. */ -}}
{{- define "edgeloop.prepare" -}}
{{- $root := index . 0 -}}{{- $image := index . 1 -}}
{{- $storage := $root.Values.storage -}}
{{- if or (eq $storage.prepare "always") (and (eq $storage.prepare "auto") (eq $storage.type "hostPath")) }}
initContainers:
  - name: folders
    image: {{ include "edgeloop.image" $image }}
    imagePullPolicy: {{ $root.Values.image.pullPolicy }}
    command:
      - sh
      - -c
      - |
        mkdir -p /data/images /data/models && chown "$OWNER" /data/images /data/models && exit
        echo "the volume belongs to somebody else: make images/ and models/ in it by hand and chown them to $OWNER"
        exit 1
    env:
      - {name: OWNER, value: "{{ $root.Values.runAs.user }}:{{ $root.Values.runAs.group }}"}
    volumeMounts:
      - {name: data, mountPath: /data}
    resources: {requests: {cpu: 10m, memory: 16Mi}, limits: {memory: 64Mi}}
    securityContext:
      runAsUser: 0
      runAsNonRoot: false
      readOnlyRootFilesystem: true
      allowPrivilegeEscalation: false
      capabilities: {drop: [ALL], add: [CHOWN]}
      seccompProfile: {type: RuntimeDefault}
{{- end }}
{{- end -}}
