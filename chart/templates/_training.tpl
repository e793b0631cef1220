{{- /* The pod of a training, for the CronJob and for the first run. */ -}}
{{- define "edgeloop.trainingJob" -}}
{{- $training := .Values.training -}}
{{- $settings := $training.settings | default dict -}}
backoffLimit: {{ int64 $training.backoffLimit }}
# A second trainer that starts while the first is stopped would only wait for its lock.
podReplacementPolicy: Failed
podFailurePolicy:
  rules:
    # The node was drained, or another pod was worth more: not the training's fault, and it goes on from its checkpoint.
    - action: Ignore
      onPodConditions: [{type: DisruptionTarget, status: "True"}]
    # Images or settings that somebody has to change{{ if eq (get $settings "TIME_BUDGET_END") "pause" }}; and a budget that is used up, which the next run goes on from{{ end }}.
    - action: FailJob
      onExitCodes: {containerName: trainer, operator: In, values: [{{ if eq (get $settings "TIME_BUDGET_END") "pause" }}2, 143{{ else }}2{{ end }}]}
    # Another training holds the lock.
    - action: Count
      onExitCodes: {containerName: trainer, operator: In, values: [75]}
# No activeDeadlineSeconds: it counts Pending too, and a night offline would look like a failed training. TIME_BUDGET is the limit.
template:
  metadata:
    labels:
      {{- include "edgeloop.podLabels" (list . "training") | nindent 6 }}
    {{- with $training.podAnnotations }}
    annotations:
      {{- toYaml . | nindent 6 }}
    {{- end }}
  spec:
    restartPolicy: Never
    serviceAccountName: {{ include "edgeloop.name" (list . "training") }}
    automountServiceAccountToken: false
    enableServiceLinks: false
    {{- include "edgeloop.pullSecrets" . | replace "\n" "\n    " }}
    terminationGracePeriodSeconds: {{ int64 $training.terminationGracePeriodSeconds }}
    {{- include "edgeloop.podUser" . | nindent 4 }}
    {{- include "edgeloop.placement" $training | replace "\n" "\n    " }}
    {{- $affinity := deepCopy ($training.affinity | default dict) }}
    {{- if $training.requireOnline }}
    {{- $online := dict "key" .Values.monitor.nodeLabelKey "operator" "In" "values" (list "online") }}
    {{- $terms := dig "nodeAffinity" "requiredDuringSchedulingIgnoredDuringExecution" "nodeSelectorTerms" (list (dict)) $affinity }}
    {{- $both := list }}
    {{- /* Terms are alternatives: each of them gets the label. */}}
    {{- range $terms }}
    {{- $both = append $both (merge (dict "matchExpressions" (append (default (list) .matchExpressions) $online)) .) }}
    {{- end }}
    {{- $required := dict "requiredDuringSchedulingIgnoredDuringExecution" (dict "nodeSelectorTerms" $both) }}
    {{- $_ := set $affinity "nodeAffinity" (merge $required (default (dict) $affinity.nodeAffinity)) }}
    {{- end }}
    {{- with $affinity }}
    affinity:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- include "edgeloop.prepare" (list . $training.image) | replace "\n" "\n    " }}
    containers:
      - name: trainer
        image: {{ include "edgeloop.image" $training.image }}
        imagePullPolicy: {{ .Values.image.pullPolicy }}
        env:
          - {name: IMAGES_DIR, value: /data/images}
          - {name: MODEL_DIR, value: /data/models}
          {{- with $training.epochs }}
          - {name: EPOCHS, value: "{{ int64 . }}"}
          {{- end }}
          - {name: BATCH_SIZE, value: "{{ int64 $training.batchSize }}"}
          - {name: DEVICE, value: {{ $training.device }}}
          {{- if $training.hyp }}
          - {name: HYP, value: /etc/edgeloop/hyp.yaml}
          {{- end }}
          {{- include "edgeloop.settings" (list "training" $settings (list "IMAGES_DIR" "MODEL_DIR" "EPOCHS" "BATCH_SIZE" "DEVICE" "HYP")) | replace "\n" "\n          " }}
          {{- with $training.extraEnv }}
          {{- toYaml . | nindent 10 }}
          {{- end }}
        resources:
          {{- toYaml $training.resources | nindent 10 }}
        {{- include "edgeloop.noRights" . | nindent 8 }}
        volumeMounts:
          - {name: data, mountPath: /data}
          - {name: tmp, mountPath: /tmp}
          {{- if $training.hyp }}
          - {name: hyp, mountPath: /etc/edgeloop, readOnly: true}
          {{- end }}
          {{- with $training.extraVolumeMounts }}
          {{- toYaml . | nindent 10 }}
          {{- end }}
    volumes:
      - {name: data, persistentVolumeClaim: {claimName: {{ include "edgeloop.claimName" . }}}}
      - {name: tmp, emptyDir: {}}
      {{- if $training.hyp }}
      - {name: hyp, configMap: {name: {{ include "edgeloop.name" (list . "training") }}}}
      {{- end }}
      {{- with $training.extraVolumes }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
{{- end -}}
