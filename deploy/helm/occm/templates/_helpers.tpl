{{- define "occm.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "occm.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "occm.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "occm.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What names pods of one component for ever: selectors cannot change. Takes (root, component). */}}
{{- define "occm.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ include "occm.name" $root }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "occm.labels" -}}
{{- $root := index . 0 -}}
{{ include "occm.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: occm
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "occm.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* How many tasks all workers together can hold: what the dispatcher reckons with. */}}
{{- define "occm.slots" -}}
{{- $worker := .Values.worker -}}
{{- mul $worker.threads (ternary $worker.autoscaling.maxReplicas $worker.replicas $worker.autoscaling.enabled) -}}
{{- end -}}

{{/* A pod's spec, around its containers. Takes (root, component, service account). */}}
{{- define "occm.pod" -}}
{{- $root := index . 0 -}}
serviceAccountName: {{ include "occm.fullname" $root }}-{{ index . 2 }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with $root.Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile:
    type: RuntimeDefault
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: {{ $root.Values.topologySpread.topologyKey }}
    whenUnsatisfiable: {{ $root.Values.topologySpread.whenUnsatisfiable }}
    labelSelector:
      matchLabels: {{- include "occm.selector" (list $root (index . 1)) | nindent 8 }}
{{- with $root.Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $root.Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $root.Values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "occm.podMetadata" -}}
{{- $root := index . 0 -}}
annotations:
  checksum/config: {{ include (print $root.Template.BasePath "/configmap.yaml") $root | sha256sum }}
  {{- if and (eq (index . 1) "worker") $root.Values.trafficSegregation.enabled }}
  {{- if hasKey $root.Values.podAnnotations "k8s.v1.cni.cncf.io/networks" }}
  {{- fail "podAnnotations: k8s.v1.cni.cncf.io/networks is what trafficSegregation writes; name the networks in trafficSegregation.networks" }}
  {{- end }}
  k8s.v1.cni.cncf.io/networks: {{ include "occm.networks" $root | quote }}
  {{- end }}
  {{- with $root.Values.podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
labels:
  {{- with $root.Values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- include "occm.labels" . | nindent 2 }}
{{- end -}}

{{/* Multus' list of networks: nf-<service_network_name>-egr. */}}
{{- define "occm.networks" -}}
{{- $networks := list -}}
{{- range .Values.trafficSegregation.networks -}}
{{- $network := dict "name" (printf "nf-%s-egr" .serviceNetworkName) -}}
{{- $networks = append $networks (ternary (merge $network (dict "namespace" .namespace)) $network (not (empty .namespace))) -}}
{{- end -}}
{{- $networks | toJson -}}
{{- end -}}

{{- define "occm.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end -}}

{{/* The environment of what works on the database: all settings, secrets as files. */}}
{{- define "occm.environment" -}}
envFrom:
  - configMapRef:
      name: {{ include "occm.fullname" . }}
env:
  {{- range list "SECRET_KEY" "OCCM_FIELD_KEYS" "DATABASE_URL" "REDIS_URL" }}
  - name: {{ . }}_FILE
    value: /run/occm/secrets/{{ . }}
  {{- end }}
{{- end -}}

{{/* The environment of what knows the broker alone: settings want the others, nothing uses them. */}}
{{- define "occm.environmentOfBrokerOnly" -}}
envFrom:
  - configMapRef:
      name: {{ include "occm.fullname" . }}
env:
  - name: SECRET_KEY
    value: not-used-by-this-process-which-signs-nothing
  - name: OCCM_FIELD_KEYS
    value: AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
  - name: DATABASE_URL
    value: "sqlite://:memory:"
  - name: REDIS_URL_FILE
    value: /run/occm/secrets/REDIS_URL
{{- end -}}

{{/* Takes (root, keys of existingSecret). */}}
{{- define "occm.volumes" -}}
{{- $root := index . 0 -}}
- name: tmp
  emptyDir:
    sizeLimit: 64Mi
- name: alive
  emptyDir:
    sizeLimit: 1Mi
- name: secrets
  secret:
    secretName: {{ $root.Values.existingSecret }}
    defaultMode: 0440
    items:
      {{- range index . 1 }}
      - key: {{ . }}
        path: {{ . }}
      {{- end }}
{{- with $root.Values.serverTrust.existingSecret }}
- name: trust
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- end -}}

{{- define "occm.mounts" -}}
- name: tmp
  mountPath: /tmp
- name: alive
  mountPath: /run/occm/alive
- name: secrets
  mountPath: /run/occm/secrets
  readOnly: true
{{- if .Values.serverTrust.existingSecret }}
- name: trust
  mountPath: /run/occm/trust
  readOnly: true
{{- end }}
{{- end -}}

{{/* The token is for the container that needs it, not for the migration before it. */}}
{{- define "occm.tokenVolume" -}}
- name: kubernetes
  projected:
    defaultMode: 0440
    sources:
      - serviceAccountToken:
          path: token
          expirationSeconds: 3600
      - configMap:
          name: kube-root-ca.crt
          items:
            - key: ca.crt
              path: ca.crt
      - downwardAPI:
          items:
            - path: namespace
              fieldRef:
                fieldPath: metadata.namespace
{{- end -}}

{{- define "occm.tokenMount" -}}
- name: kubernetes
  mountPath: /var/run/secrets/kubernetes.io/serviceaccount
  readOnly: true
{{- end -}}

{{/* Every pod that works on the database first sees to it that it is of this release: one migrates
under a lock, the others wait for it. No Job and no hook, so scaling and rollback need neither.
Takes (root, component); the web's makes the administrator, too. */}}
{{- define "occm.prepare" -}}
{{- $root := index . 0 -}}
{{- $administrator := and (eq (index . 1) "web") $root.Values.createAdministrator -}}
- name: prepare
  image: {{ include "occm.image" $root }}
  imagePullPolicy: {{ $root.Values.image.pullPolicy }}
  args: [python, manage.py, prepare]
  {{- include "occm.environment" $root | nindent 2 }}
    {{- if $administrator }}
    - name: OCCM_ADMIN_PASSWORD_FILE
      value: /run/occm/administrator/OCCM_ADMIN_PASSWORD
    {{- end }}
  {{- include "occm.containerSecurity" . | nindent 2 }}
  resources:
    requests: {cpu: 100m, memory: 192Mi}
    limits: {memory: 384Mi}
  volumeMounts: {{- include "occm.mounts" $root | nindent 4 }}
    {{- if $administrator }}
    - name: administrator
      mountPath: /run/occm/administrator
      readOnly: true
    {{- end }}
{{- end -}}

{{/* Workers, dispatcher and beat touch a file every other second for as long as they do their work. */}}
{{- define "occm.aliveProbes" -}}
startupProbe:
  exec:
    command: [test, -f, /run/occm/alive/beating]
  periodSeconds: 2
  failureThreshold: 60
livenessProbe:
  exec:
    command: [sh, -c, 'test -n "$(find /run/occm/alive/beating -mmin -2)"']
  periodSeconds: 30
  failureThreshold: 6
  timeoutSeconds: 5
{{- end -}}

{{- define "occm.metricsToken" -}}
type: Bearer
credentials:
  name: {{ .Values.existingSecret }}
  key: OCCM_METRICS_TOKEN
{{- end -}}
