//! The real helm.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, missing_docs)]

mod support;

use envctl_programs::helm::{HelmError, Template, carry};
use envctl_programs::process::Supervisor;
use serde_json::{Value, json};
use support::{on_path, write};

struct Chart {
    dir: tempfile::TempDir,
    template: Template,
}

impl Chart {
    /// A chart with this one template; none where helm is missing.
    fn new(text: &str) -> Option<Self> {
        let program = on_path("helm")?;
        let dir = tempfile::tempdir().unwrap();
        let chart = dir.path().join("chart");
        write(&chart.join("Chart.yaml"), "apiVersion: v2\nname: album\nversion: 0.1.0\n");
        write(&chart.join("values.yaml"), "level: chart\n");
        write(&chart.join("templates/all.yaml"), text);
        let mut template = Template::new(program, chart, "album", "album-aki");
        let home = dir.path().join("home");
        for variable in ["HOME", "HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            template.env.insert(variable.into(), home.display().to_string());
        }
        Some(Self { dir, template })
    }

    async fn render(&self, former: &[Value]) -> Vec<Value> {
        let rendered = self.template.render(former, &Supervisor::default()).await.unwrap();
        objects(&rendered.manifests)
    }
}

/// The templates here write JSON documents, so that no YAML parser stands between.
fn objects(manifests: &str) -> Vec<Value> {
    manifests
        .split("---\n")
        .map(|document| document.lines().filter(|line| !line.starts_with('#')).collect::<String>())
        .filter(|document| !document.trim().is_empty())
        .map(|document| serde_json::from_str(&document).unwrap())
        .collect()
}

#[tokio::test]
async fn values_are_layered_and_hooks_are_included() {
    let Some(mut chart) = Chart::new(
        r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"level":{{ .Values.level | quote }},"port":"{{ .Values.port }}","image":"{{ .Values.image }}","upgrade":"{{ .Release.IsUpgrade }}","kube":"{{ .Capabilities.KubeVersion.Version }}","has":"{{ .Capabilities.APIVersions.Has "gateway.networking.k8s.io/v1/HTTPRoute" }} {{ .Capabilities.APIVersions.Has "monitoring.coreos.com/v1" }} {{ .Capabilities.APIVersions.Has "apps/v1/Deployment" }}"}}
---
{"apiVersion":"batch/v1","kind":"Job","metadata":{"name":"migrate","annotations":{"helm.sh/hook":"pre-install"}},"spec":{}}
"#,
    ) else {
        return;
    };
    for (name, text) in [("common.yaml", "level: common\nport: 1\n"), ("local.yaml", "port: 2\n")] {
        let path = chart.dir.path().join(name);
        write(&path, text);
        chart.template.values.push(path);
    }
    chart.template.generated = json!({"image": "album@sha256:abc", "port": 3});
    chart.template.set = vec!["port=4".into()];
    chart.template.api_versions = vec!["gateway.networking.k8s.io/v1/HTTPRoute".into()];
    chart.template.kube_version = "1.33.2".into();
    let objects = chart.render(&[]).await;
    assert_eq!(objects.len(), 2);
    assert_eq!(objects[1]["kind"], "Job");
    let expected = json!({"level": "common", "port": "4", "image": "album@sha256:abc", "upgrade": "false", "kube": "v1.33.2", "has": "true false true"});
    assert_eq!(objects[0]["data"], expected);
    let again = chart.render(&objects).await;
    assert_eq!(again[0]["data"]["upgrade"], "true");
    // Nothing of ours stays under the user's home.
    assert!(!chart.dir.path().join("home/.kube").exists());
}

#[tokio::test]
async fn a_drawn_password_is_found_again() {
    let Some(chart) = Chart::new(
        r#"{{- $old := lookup "v1" "Secret" .Release.Namespace "db" }}
{{- $all := lookup "v1" "Secret" .Release.Namespace "" }}
{"apiVersion":"v1","kind":"Secret","metadata":{"name":"db"},"stringData":{"password":"{{ if $old }}{{ $old.data.password | b64dec }}{{ else }}{{ randAlphaNum 16 }}{{ end }}","count":"{{ len (default list $all.items) }}"}}
"#,
    ) else {
        return;
    };
    let first = chart.render(&[]).await;
    let second = chart.render(&first).await;
    assert_eq!(first[0]["stringData"]["password"], second[0]["stringData"]["password"]);
    assert_eq!(second[0]["stringData"]["count"], "1");
}

#[tokio::test]
async fn what_is_drawn_without_a_lookup_is_carried() {
    let Some(mut chart) = Chart::new(
        r#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"db"},"data":{"password":"{{ randAlphaNum 16 | b64enc }}","level":"{{ .Values.level | b64enc }}"}}
---
{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"web","annotations":{"checksum":"{{ randAlphaNum 16 | sha256sum }}"}},"data":{"level":"{{ .Values.level }}"}}
"#,
    ) else {
        return;
    };
    let by = Supervisor::default();
    let first = chart.render(&[]).await;
    chart.template.set = vec!["level=debug".into()];
    let (now, again) = chart.template.render_twice(&first, &by).await.unwrap();
    let again = again.expect("random values differ");
    let carried = carry(&first, objects(&now.manifests), &objects(&again.manifests));
    let find = |list: &[Value], kind: &str| list.iter().find(|o| o["kind"] == kind).unwrap().clone();
    let (old, new) = (find(&first, "Secret"), find(&carried, "Secret"));
    assert_eq!(old["data"]["password"], new["data"]["password"]);
    assert_ne!(old["data"]["level"], new["data"]["level"]);
    let (old, new) = (find(&first, "ConfigMap"), find(&carried, "ConfigMap"));
    assert_eq!(old["metadata"], new["metadata"]);
    assert_eq!(new["data"]["level"], "debug");
}

#[tokio::test]
async fn kinds_that_no_cluster_is_born_with_are_learnt() {
    let Some(chart) = Chart::new(
        r#"{{- $old := lookup "cert-manager.io/v1" "Certificate" .Release.Namespace "web" }}
{"apiVersion":"monitoring.coreos.com/v1","kind":"ServiceMonitor","metadata":{"name":"web"},"spec":{}}
---
{"apiVersion":"keda.sh/v1alpha1","kind":"ScaledObject","metadata":{"name":"web"},"spec":{}}
---
{"apiVersion":"policy/v1beta1","kind":"PodSecurityPolicy","metadata":{"name":"web"},"spec":{}}
"#,
    ) else {
        return;
    };
    let first = chart.render(&[]).await;
    assert_eq!(first.len(), 3);
    assert_eq!(chart.render(&first).await, first);
}

#[tokio::test]
async fn what_does_not_change_is_the_same_twice() {
    let Some(chart) = Chart::new(r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}}"#) else {
        return;
    };
    let (_, again) = chart.template.render_twice(&[], &Supervisor::default()).await.unwrap();
    assert_eq!(again, None);
}

#[tokio::test]
async fn helms_errors_come_whole() {
    let Some(mut chart) = Chart::new("a: {{ required \"set web.host\\nor web.port\" .Values.web }}\n") else {
        return;
    };
    let by = Supervisor::default();
    let error = chart.template.render(&[], &by).await.unwrap_err().to_string();
    assert!(
        error.contains("chart/templates/all.yaml") || error.contains("album/templates/all.yaml"),
        "{error}"
    );
    assert!(error.contains("set web.host\nor web.port"), "{error}");

    chart.template.set = vec!["password=hunter2".into()];
    let error = chart.template.render(&[], &by).await.unwrap_err().to_string();
    assert!(!error.contains("hunter2") && error.contains("--set ***"), "{error}");

    chart.template.values = vec![chart.dir.path().join("gone.yaml")];
    let error = chart.template.render(&[], &by).await.unwrap_err();
    assert!(matches!(&error, HelmError::Unreadable { path, .. } if path.ends_with("gone.yaml")), "{error}");
}

#[tokio::test]
async fn missing_dependencies_are_told_with_the_command() {
    let Some(chart) = Chart::new("") else { return };
    write(
        &chart.template.chart.join("Chart.yaml"),
        "apiVersion: v2\nname: album\nversion: 0.1.0\ndependencies: [{name: mysql, version: 1.0.0, repository: \"https://example.com\"}]\n",
    );
    let error = chart.template.render(&[], &Supervisor::default()).await.unwrap_err();
    assert!(matches!(error, HelmError::DependenciesMissing { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("mysql") && text.contains("fetch them: helm dependency build "), "{text}");
}
