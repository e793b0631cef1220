{{- /* Combinations that a schema cannot refuse. Each message says what to type. */ -}}
{{- define "edgeloop.checks" -}}
{{- $storage := .Values.storage -}}
{{- $inference := .Values.inference -}}
{{- if and (eq $storage.type "existingClaim") (not $storage.existingClaim.name) -}}
{{- fail "storage.type is existingClaim: name the claim, --set storage.existingClaim.name=NAME" -}}
{{- end -}}
{{- if and $storage.existingClaim.name (ne $storage.type "existingClaim") -}}
{{- fail (printf "storage.existingClaim.name is given and storage.type is %s: add --set storage.type=existingClaim" $storage.type) -}}
{{- end -}}
{{- if and (eq $storage.type "nfs") (not (and $storage.nfs.server $storage.nfs.path)) -}}
{{- fail "storage.type is nfs: name the server and its export, --set storage.nfs.server=HOST,storage.nfs.path=/EXPORT" -}}
{{- end -}}
{{- if and $storage.nfs.server (ne $storage.type "nfs") -}}
{{- fail (printf "storage.nfs.server is given and storage.type is %s: add --set storage.type=nfs" $storage.type) -}}
{{- end -}}
{{- $several := or $inference.autoscaling.enabled (gt (int $inference.replicas) 1) -}}
{{- if and $inference.enabled $several (eq $storage.accessMode "ReadWriteOncePod") -}}
{{- fail "storage.accessMode is ReadWriteOncePod, and trainer and inferers are several pods: use ReadWriteMany" -}}
{{- end -}}
{{- if and $inference.enabled .Values.training.enabled (eq $storage.accessMode "ReadWriteOncePod") -}}
{{- fail "storage.accessMode is ReadWriteOncePod, and trainer and inferer share the volume: use ReadWriteMany, or ReadWriteOnce where both run on one node" -}}
{{- end -}}
{{- if and $inference.enabled $several (eq $storage.accessMode "ReadWriteOnce") -}}
{{- fail "storage.accessMode is ReadWriteOnce, and several inferers would have to share one node: use ReadWriteMany, or inference.replicas=1 without autoscaling" -}}
{{- end -}}
{{- if and $inference.enabled $inference.autoscaling.enabled -}}
{{- if $inference.folder -}}
{{- fail "inference.autoscaling and inference.folder together: every replica would infer the whole images folder, and its load never falls; --set inference.folder=false" -}}
{{- end -}}
{{- if gt (int $inference.autoscaling.minReplicas) (int $inference.autoscaling.maxReplicas) -}}
{{- fail "inference.autoscaling.minReplicas is more than maxReplicas" -}}
{{- end -}}
{{- if not (or $inference.autoscaling.cpuPercent $inference.autoscaling.inferFps) -}}
{{- fail "inference.autoscaling by what? Set cpuPercent, inferFps, or both" -}}
{{- end -}}
{{- end -}}
{{- if and $inference.resultsDir $inference.storeReadOnly (hasPrefix "/data/" $inference.resultsDir) -}}
{{- fail "inference.resultsDir is on the volume, which is mounted read-only: --set inference.storeReadOnly=false" -}}
{{- end -}}
{{- if and $inference.resultsDir (not $inference.folder) -}}
{{- fail "inference.resultsDir keeps the lines of the images folder, and inference.folder is false" -}}
{{- end -}}
{{- if and .Values.monitor.enabled (not .Values.monitor.hostNetwork) -}}
{{- if has "auto" (splitList "," .Values.monitor.heartbeatIp) -}}
{{- fail "monitor.heartbeatIp has `auto`: in a pod network that is the cluster's bridge, which always answers; name the gateway, or --set monitor.hostNetwork=true" -}}
{{- end -}}
{{- end -}}
{{- end -}}
