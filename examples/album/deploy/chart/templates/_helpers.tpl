{{- define "album.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end }}

{{/* Short enough for "-migrate" and what Deployments append. */}}
{{- define "album.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "album.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "album.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{- define "album.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{ include "album.selector" . }}
{{- end }}

{{- define "album.selector" -}}
app.kubernetes.io/name: {{ include "album.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "album.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "album.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end }}

{{/* Shipping and admin are nobody to AWS that the others are. */}}
{{- define "album.shipping.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- include "album.fullname" . }}-shipping
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end }}

{{- define "album.admin.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- include "album.fullname" . }}-admin
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end }}

{{- define "album.image" -}}
{{- printf "%s:%s" .Values.image.repository .Values.image.tag -}}
{{- end }}

{{/* What every role but shipping reads; the names end in the checksums' annotation too. */}}
{{- define "album.envFrom" -}}
- configMapRef: {name: {{ include "album.fullname" . }}}
- secretRef: {name: {{ include "album.fullname" . }}}
{{- end }}

{{/* A changed setting restarts the pods that read it. */}}
{{- define "album.checksums" -}}
checksum/config: {{ include (print $.Template.BasePath "/configmap.yaml") . | sha256sum }}
checksum/secret: {{ include (print $.Template.BasePath "/secret.yaml") . | sha256sum }}
{{- end }}

{{/* Shipping is a subsystem: it has a database and a queue of its own, and knows no others. */}}
{{- define "album.shipping.envFrom" -}}
- configMapRef: {name: {{ include "album.fullname" . }}-shipping}
- secretRef: {name: {{ include "album.fullname" . }}-shipping}
{{- end }}

{{- define "album.shipping.checksums" -}}
checksum/config: {{ include (print $.Template.BasePath "/shipping-configmap.yaml") . | sha256sum }}
checksum/secret: {{ include (print $.Template.BasePath "/shipping-secret.yaml") . | sha256sum }}
{{- end }}
