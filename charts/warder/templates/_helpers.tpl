{{- /* An image with the registry of the values before it. Takes registry, repository, tag. */ -}}
{{- define "warder.imageOf" -}}
{{- with .registry }}{{ . | trimSuffix "/" }}/{{ end }}{{ .repository }}:{{ .tag }}
{{- end }}

{{- define "warder.image" -}}
{{- include "warder.imageOf" (dict "registry" .Values.global.cattle.systemDefaultRegistry "repository" .Values.image.repository "tag" (.Values.image.tag | default .Chart.AppVersion)) }}
{{- end }}

{{- /* The image of the policy server, nothing if it is that of the controller. */ -}}
{{- define "warder.policyServerImage" -}}
{{- with .Values.policyServer.image.repository -}}
{{- include "warder.imageOf" (dict "registry" $.Values.global.cattle.systemDefaultRegistry "repository" . "tag" ($.Values.policyServer.image.tag | default $.Chart.AppVersion)) }}
{{- end }}
{{- end }}

{{- /* The names of the Secrets with which images are pulled: "a,b". */ -}}
{{- define "warder.pullSecrets" -}}
{{- $names := list }}
{{- range .Values.imagePullSecrets }}
{{- if kindIs "string" . }}{{ $names = append $names . }}{{ else }}{{ $names = append $names .name }}{{ end }}
{{- end }}
{{- join "," $names }}
{{- end }}

{{- define "warder.pullSecretObjects" -}}
{{- $objects := list }}
{{- with include "warder.pullSecrets" . }}
{{- range splitList "," . }}{{ $objects = append $objects (dict "name" .) }}{{ end }}
{{- end }}
{{- toJson $objects }}
{{- end }}

{{- /* The list of authorities as a map by host. */ -}}
{{- define "warder.sourceAuthorities" -}}
{{- $hosts := dict }}
{{- range .Values.policyServer.sourceAuthorities }}
{{- $_ := set $hosts .uri (concat (get $hosts .uri | default list) .certs) }}
{{- end }}
{{- toJson $hosts }}
{{- end }}

{{- /* The namespaces that the recommended policies judge. */ -}}
{{- define "warder.judgedNamespaces" -}}
{{- $skip := concat (.Values.global.skipNamespaces | default list) (.Values.recommendedPolicies.skipAdditionalNamespaces | default list) | uniq }}
{{- if $skip }}
{{- toJson (dict "matchExpressions" (list (dict "key" "kubernetes.io/metadata.name" "operator" "NotIn" "values" $skip))) }}
{{- else }}{}
{{- end }}
{{- end }}

{{- /* The module of a recommended policy: that of the values, or the one built in. */ -}}
{{- define "warder.module" -}}
{{- with .policy.module.repository -}}
registry://{{ include "warder.imageOf" (dict "registry" ($.values.recommendedPolicies.defaultPoliciesRegistry | default $.values.global.cattle.systemDefaultRegistry) "repository" . "tag" (required (printf "recommendedPolicies: module %s: tag: say which" .) $.policy.module.tag)) }}
{{- else -}}
builtin://{{ .builtin }}
{{- end }}
{{- end }}

{{- /* What policies may read, as rules of a role. */ -}}
{{- define "warder.permissions" -}}
{{- $rules := list }}
{{- range .Values.policyServer.permissions }}
{{- $rules = append $rules (dict "apiGroups" (list .apiGroup) "resources" .resources "verbs" (list "get" "list" "watch")) }}
{{- end }}
{{- toJson $rules }}
{{- end }}

{{- /* Values of Kubewarden's chart that warder would have to ignore. */ -}}
{{- define "warder.refused" -}}
{{- if (.Values.auditScanner).enable }}
{{- fail "auditScanner.enable: this version of warder has no audit scanner; set it to false" }}
{{- end }}
{{- if (.Values.auditScanner).policyReporter }}
{{- fail "auditScanner.policyReporter: this chart has no Policy Reporter; set it to false, and install Policy Reporter with its own chart" }}
{{- end }}
{{- range $name := list "metrics" "tracing" }}
{{- if get ($.Values.telemetry | default dict) $name }}
{{- fail (printf "telemetry.%s: this version of warder sends nothing to OpenTelemetry; set it to false, and scrape /metrics of the pods with Prometheus" $name) }}
{{- end }}
{{- end }}
{{- if and .Values.mTLS.enable (not .Values.mTLS.configMapName) }}
{{- fail "mTLS.configMapName: name the ConfigMap whose key client-ca.crt has who signs the certificate of the API server" }}
{{- end }}
{{- if and .Values.policySets (not .Values.policyServer.enabled) }}
{{- fail "policySets: they are judged by the default policy server; set policyServer.enabled to true" }}
{{- end }}
{{- if and .Values.recommendedPolicies.enabled (not .Values.policyServer.enabled) }}
{{- fail "recommendedPolicies.enabled: they are judged by the default policy server; set policyServer.enabled to true" }}
{{- end }}
{{- if and (not (kindIs "invalid" .Values.policyServer.minAvailable)) (not (kindIs "invalid" .Values.policyServer.maxUnavailable)) }}
{{- fail "policyServer.minAvailable and policyServer.maxUnavailable: set one of them" }}
{{- end }}
{{- end }}
{{- /* The pod of a hook, which runs warder once. Takes root, name, args. */ -}}
{{- define "warder.hookJob" -}}
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ .name }}
  namespace: {{ .root.Release.Namespace | quote }}
  labels:
    {{- include "warder.hookLabels" . | nindent 4 }}
  annotations:
    helm.sh/hook: {{ .hook }}
    helm.sh/hook-weight: "1"
    helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
spec:
  backoffLimit: 3
  activeDeadlineSeconds: 600
  template:
    metadata:
      labels:
        {{- include "warder.hookLabels" . | nindent 8 }}
    spec:
      restartPolicy: Never
      serviceAccountName: {{ .name }}
      {{- if .root.Values.hostNetwork }}
      hostNetwork: true
      dnsPolicy: ClusterFirstWithHostNet
      {{- end }}
      {{- with include "warder.pullSecretObjects" .root | fromJsonArray }}
      imagePullSecrets:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .root.Values.global.affinity }}
      affinity:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .root.Values.global.tolerations }}
      tolerations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .root.Values.global.priorityClassName }}
      priorityClassName: {{ . | quote }}
      {{- end }}
      {{- with .root.Values.nodeSelector }}
      nodeSelector:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .root.Values.podSecurityContext }}
      securityContext:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      containers:
        - name: warder
          image: {{ include "warder.image" .root | quote }}
          {{- with .root.Values.image.pullPolicy }}
          imagePullPolicy: {{ . | quote }}
          {{- end }}
          args:
            {{- toYaml .args | nindent 12 }}
          {{- with .root.Values.additionalEnvironmentVariables }}
          env:
            {{- toYaml . | nindent 12 }}
          {{- end }}
          {{- with .root.Values.resources.controller }}
          resources:
            {{- toYaml . | nindent 12 }}
          {{- end }}
          {{- with .root.Values.containerSecurityContext }}
          securityContext:
            {{- toYaml . | nindent 12 }}
          {{- end }}
{{- end }}

{{- /* Not those of the controller: uninstall waits until no pod with these is left. */ -}}
{{- define "warder.hookLabels" -}}
app.kubernetes.io/component: hook
app.kubernetes.io/name: warder
app.kubernetes.io/part-of: kubewarden
{{- end }}

{{- /* Metadata of what a hook may do. Takes hook, name, and root if it is in the namespace. */ -}}
{{- define "warder.hookMeta" -}}
metadata:
  name: {{ .name }}
  {{- with .root }}
  namespace: {{ .Release.Namespace | quote }}
  {{- end }}
  labels:
    {{- include "warder.hookLabels" . | nindent 4 }}
  annotations:
    helm.sh/hook: {{ .hook }}
    helm.sh/hook-weight: "0"
    helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}

{{- /* Roles and bindings of a hook's ServiceAccount. Takes root, hook, name, cluster, namespace (rules). */ -}}
{{- define "warder.hookAccess" -}}
apiVersion: v1
kind: ServiceAccount
{{ include "warder.hookMeta" . }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
{{ include "warder.hookMeta" (omit . "root") }}
rules:
  {{- toYaml .cluster | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
{{ include "warder.hookMeta" (omit . "root") }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: {{ .name }}
subjects:
  - kind: ServiceAccount
    name: {{ .name }}
    namespace: {{ .root.Release.Namespace | quote }}
{{- with .namespace }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
{{ include "warder.hookMeta" $ }}
rules:
  {{- toYaml . | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
{{ include "warder.hookMeta" $ }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: {{ $.name }}
subjects:
  - kind: ServiceAccount
    name: {{ $.name }}
    namespace: {{ $.root.Release.Namespace | quote }}
{{- end }}
{{- end }}
