//! From the stack file to Kubernetes objects.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use envctl_model::stack::Target;
use envctl_programs::helm::{HelmError, Template};
use envctl_programs::private;
use envctl_programs::process::{Command, ProgramError, Supervisor};
use envctl_translate::Object;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Home;
use crate::config::{Base, Project};
use crate::ui::Failure;

/// Rendered objects.
#[derive(Debug, Clone, Default)]
pub(crate) struct Objects {
    /// The objects.
    pub(crate) list: Vec<Object>,
    /// What they came from: `chart album`.
    pub(crate) source: String,
}

/// What a render depends on, beside the stack file.
#[derive(Debug)]
pub(crate) struct ChartInputs<'a> {
    /// The target.
    pub(crate) target: &'a Target,
    /// Release and namespace.
    pub(crate) name: &'a str,
    /// Values made from inputs.
    pub(crate) values: Map<String, Value>,
    /// Values files on top of those of the target.
    pub(crate) files: &'a [PathBuf],
    /// `--set`.
    pub(crate) set: &'a [String],
}

/// A render that is kept, so that equal inputs give equal objects.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    /// Digest of everything that went in.
    inputs: String,
    /// What Helm wrote, with its `# Source:` comments.
    manifests: String,
    /// The objects of `manifests`, with former values where the chart draws them at random.
    objects: Vec<Value>,
    /// Secrets that were rendered before and are not now, of components that are switched off: volumes remember what was
    /// drawn for them, and it has to be the same when they come back.
    #[serde(default)]
    away: Vec<Value>,
}

impl Kept {
    fn objects(&self, source: String) -> Result<Objects, Failure> {
        let mut list = parse(&self.manifests, "helm template")?;
        for (object, body) in list.iter_mut().zip(self.objects.iter().cloned()) {
            // A name may be drawn at random too.
            if let Some(name) = body["metadata"]["name"].as_str() {
                name.clone_into(&mut object.name);
            }
            object.body = body;
        }
        Ok(Objects { list, source })
    }

    /// What later renders look up.
    fn known(self) -> Vec<Value> {
        self.objects.into_iter().chain(self.away).collect()
    }
}

/// The Secrets of `former` that are not among `objects`.
fn away(former: Vec<Value>, objects: &[Value]) -> Vec<Value> {
    let is_there = |secret: &Value| {
        objects.iter().any(|object| {
            object["kind"] == secret["kind"]
                && ["name", "namespace"].iter().all(|key| object["metadata"][key] == secret["metadata"][key])
        })
    };
    former.into_iter().filter(|object| object["kind"] == "Secret" && !is_there(object)).collect()
}

/// Where in an environment's home Helm finds generated values; cleared when a run begins.
pub(crate) const SCRATCH: &str = "scratch";

/// What a render is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To check, with placeholders: it must not be what later renders look up.
    Check,
    /// To be delivered.
    Deliver,
}

impl Purpose {
    fn file(self) -> &'static str {
        match self {
            Self::Check => "check.json",
            Self::Deliver => "render.json",
        }
    }
}

/// Renders the chart, or takes the manifests. A chart whose inputs are those of the last render is
/// not rendered again: charts draw passwords and certificates at random.
pub(crate) async fn render(
    base: &Base,
    project: &Project,
    home: &Home,
    inputs: ChartInputs<'_>,
    purpose: Purpose,
    supervisor: &Supervisor,
) -> Result<Objects, Failure> {
    let stack = &project.file.stack;
    if let Some(manifests) = &stack.manifests {
        return take_manifests(project, &manifests.value, supervisor).await;
    }
    let (template, source) = template(base, project, home, inputs)?;
    let digest = template.inputs_digest().map_err(Failure::failed)?;
    let delivered = home.read_json::<Kept>(Purpose::Deliver.file())?;
    let checked = match purpose {
        Purpose::Check => home.read_json::<Kept>(purpose.file())?,
        Purpose::Deliver => None,
    };
    if let Some(kept) = delivered.iter().chain(&checked).find(|kept| kept.inputs == digest) {
        return kept.objects(source);
    }
    let former = delivered.map(Kept::known).unwrap_or_default();
    let rendered = match purpose {
        // What is only checked may draw at random.
        Purpose::Check => template.render(&former, supervisor).await.map(|rendered| (rendered, None)),
        Purpose::Deliver => template.render_twice(&former, supervisor).await,
    };
    let (rendered, again) = rendered.map_err(helm_failed)?;
    let bodies = |manifests: &str| -> Result<Vec<Value>, Failure> {
        Ok(parse(manifests, "helm template")?.into_iter().map(|object| object.body).collect())
    };
    let mut objects = bodies(&rendered.manifests)?;
    if let Some(again) = again {
        objects = envctl_programs::helm::carry(&former, objects, &bodies(&again.manifests)?);
    }
    let away = away(former, &objects);
    let kept = Kept { inputs: digest, manifests: rendered.manifests, objects, away };
    if home.exists() {
        home.write_json(purpose.file(), &kept)?;
    }
    kept.objects(source)
}

/// What was delivered last; nothing where the stack has no chart.
pub(crate) fn delivered(home: &Home) -> Result<Option<Objects>, Failure> {
    let kept = home.read_json::<Kept>(Purpose::Deliver.file())?;
    kept.map(|kept| kept.objects("what was delivered last".to_owned())).transpose()
}

/// The chart with all that goes into it, and what it is called: `chart album`.
fn template(
    base: &Base,
    project: &Project,
    home: &Home,
    inputs: ChartInputs<'_>,
) -> Result<(Template, String), Failure> {
    let stack = &project.file.stack;
    let Some(chart) = &stack.chart else {
        return Err(Failure::Usage("the stack has neither `chart` nor `manifests`".to_owned()));
    };
    let chart_dir = project.dir.join(&chart.path.value);
    let source = format!("chart {}", chart_name(&chart_dir).unwrap_or_else(|| stack.project.value.clone()));
    let mut template = Template::new(&base.programs.helm.value, chart_dir, inputs.name, inputs.name);
    template.values =
        chart.values.iter().chain(&inputs.target.values).map(|file| project.dir.join(&file.value)).collect();
    template.values.extend(inputs.files.iter().cloned());
    template.generated = Value::Object(inputs.values);
    template.set = inputs.set.to_vec();
    template.scratch = home.exists().then(|| home.file(SCRATCH));
    Ok((template, source))
}

/// What Helm delivers: the chart, or one that is made of the manifests.
pub(crate) async fn deliverable(
    base: &Base,
    project: &Project,
    home: &Home,
    inputs: ChartInputs<'_>,
    supervisor: &Supervisor,
) -> Result<Template, Failure> {
    let Some(manifests) = &project.file.stack.manifests else {
        return Ok(template(base, project, home, inputs)?.0);
    };
    let objects = take_manifests(project, &manifests.value, supervisor).await?;
    let chart = home.file(SCRATCH).join("manifests");
    write_chart(&chart, &objects.list).map_err(Failure::failed)?;
    let mut template = Template::new(&base.programs.helm.value, chart, inputs.name, inputs.name);
    template.scratch = Some(home.file(SCRATCH));
    Ok(template)
}

/// Writes a chart whose templates say nothing but what is in the manifests. So Helm delivers these, updates
/// them, and removes what is no longer among them, as it does with any release.
fn write_chart(dir: &Path, objects: &[Object]) -> std::io::Result<()> {
    let templates = dir.join("templates");
    private::make_directory(&templates)?;
    private::write(&dir.join("Chart.yaml"), b"apiVersion: v2\nname: manifests\nversion: 0.0.0\n")?;
    for (n, object) in objects.iter().enumerate() {
        let text = object.body.to_string().replace("{{", r#"{{ "{{" }}"#);
        private::write(&templates.join(format!("{n:04}.yaml")), text.as_bytes())?;
    }
    Ok(())
}

/// Helm's error as ours.
pub(crate) fn helm_failed(error: HelmError) -> Failure {
    match error {
        HelmError::Program(ProgramError::Interrupted { .. }) => Failure::Interrupted,
        // What Helm refuses is the chart, or the values.
        HelmError::Program(ProgramError::Failed(_)) | HelmError::DependenciesMissing { .. } => {
            Failure::Usage(error.to_string())
        }
        error => Failure::failed(error),
    }
}

fn chart_name(chart: &Path) -> Option<String> {
    let text = std::fs::read_to_string(chart.join("Chart.yaml")).ok()?;
    let chart: Value = serde_yaml::from_str(&text).ok()?;
    chart["name"].as_str().map(str::to_owned)
}

async fn take_manifests(
    project: &Project,
    manifests: &envctl_model::stack::Manifests,
    supervisor: &Supervisor,
) -> Result<Objects, Failure> {
    let mut list = Vec::new();
    for (text, origin) in manifest_texts(project, manifests, supervisor).await? {
        list.extend(parse(&text, &origin)?);
    }
    Ok(Objects { list, source: "manifests".to_owned() })
}

/// The manifests of a stack as they were written, with where each came from.
pub(crate) async fn manifest_texts(
    project: &Project,
    manifests: &envctl_model::stack::Manifests,
    supervisor: &Supervisor,
) -> Result<Vec<(String, String)>, Failure> {
    let mut texts = Vec::new();
    for file in manifests.files.iter().flatten() {
        let path = project.dir.join(&file.value);
        let text = std::fs::read_to_string(&path).map_err(|e| {
            let message = format!("cannot read {}: {e}", file.value.display());
            Failure::Input(project.file.error_at(file, message, None))
        })?;
        texts.push((text, file.value.display().to_string()));
    }
    if let Some((program, arguments)) = manifests.command.as_ref().and_then(|c| c.split_first()) {
        let output = Command::new(program)
            .args(arguments.iter().cloned())
            .current_dir(&project.dir)
            .whole_stdout()
            .run(supervisor)
            .await
            .map_err(Failure::failed)?;
        texts.push((output.stdout_text().into_owned(), program.clone()));
    }
    Ok(texts)
}

/// Parses manifests.
pub(crate) fn parse(text: &str, origin: &str) -> Result<Vec<Object>, Failure> {
    envctl_translate::parse(text, origin).map_err(|e| Failure::Usage(e.to_string()))
}

/// An object, with its values hidden if it is a Secret and they are not to be shown.
pub(crate) fn hide_secret(object: &Value, show: bool) -> Value {
    let mut object = object.clone();
    if object["kind"] == "Secret" && !show {
        for section in ["data", "stringData"] {
            for value in object
                .get_mut(section)
                .and_then(Value::as_object_mut)
                .into_iter()
                .flat_map(|m| m.values_mut())
            {
                *value = HIDDEN.into();
            }
        }
    }
    object
}

/// What stands for a secret.
pub(crate) const HIDDEN: &str = "(hidden)";

/// A Compose file, or an object, with everything hidden that stands in one of the Secrets or is a
/// sensitive output of Terraform; but for what is short and stands in the middle of a word.
pub(crate) fn hide_secrets(shown: Value, objects: &Objects, sensitive: &[Value]) -> Value {
    let mut secrets = Vec::new();
    sensitive.iter().for_each(|value| texts(value, &mut secrets));
    for object in objects.list.iter().filter(|o| o.kind == "Secret") {
        for value in object.body["stringData"].as_object().into_iter().flat_map(|m| m.values()) {
            secrets.extend(value.as_str().map(str::to_owned));
        }
        for value in object.body["data"].as_object().into_iter().flat_map(|m| m.values()) {
            secrets.extend(value.as_str().map(str::to_owned));
            let decoded = value.as_str().and_then(|text| STANDARD.decode(text).ok());
            secrets.extend(decoded.and_then(|bytes| String::from_utf8(bytes).ok()));
        }
    }
    // Short values (`true`, a port) would hide half the file and give nothing away.
    secrets.retain(|secret| secret.len() >= 4);
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    hide(shown, &secrets)
}

/// All texts and numbers in a value.
fn texts(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::String(text) => into.push(text.clone()),
        Value::Number(number) => into.push(number.to_string()),
        Value::Array(list) => list.iter().for_each(|value| texts(value, into)),
        Value::Object(map) => map.values().for_each(|value| texts(value, into)),
        Value::Null | Value::Bool(_) => {}
    }
}

/// As long as this a secret is nothing else by chance, and is hidden wherever it stands.
const TELLING: usize = 8;

/// A text with a secret hidden. A short one (`root`, `local`) is part of many a word that gives nothing away: in the
/// middle of one it is shown.
fn without(text: &str, secret: &str) -> String {
    if secret.len() >= TELLING {
        return text.replace(secret, HIDDEN);
    }
    let is_word = |character: char| character.is_alphanumeric() || matches!(character, '_' | '-' | '.');
    let (mut shown, mut done) = (String::new(), 0);
    for (at, _) in text.match_indices(secret) {
        let end = at + secret.len();
        let inside = text[..at].ends_with(is_word) && text[end..].starts_with(is_word);
        if !inside {
            shown.push_str(&text[done..at]);
            shown.push_str(HIDDEN);
            done = end;
        }
    }
    shown.push_str(&text[done..]);
    shown
}

fn hide(value: Value, secrets: &[String]) -> Value {
    match value {
        Value::String(mut text) => {
            for secret in secrets {
                // Compose doubles each dollar sign.
                text = without(&without(&text, secret), &secret.replace('$', "$$"));
            }
            Value::String(text)
        }
        Value::Array(list) => list.into_iter().map(|v| hide(v, secrets)).collect(),
        // A seeder's content is a document of files, encoded: nothing in it is found by searching.
        Value::Object(map) => map
            .into_iter()
            .map(|(key, v)| match key.as_str() {
                "content" => (key, HIDDEN.into()),
                _ => (key, hide(v, secrets)),
            })
            .collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_of_what_is_switched_off_are_remembered_until_they_are_back() {
        let secret =
            |name: &str| json!({"kind": "Secret", "metadata": {"name": name}, "data": {"x": "eA=="}});
        let other = json!({"kind": "ConfigMap", "metadata": {"name": "db"}});
        let former = vec![secret("api"), secret("db"), other];
        let without = away(former, &[secret("api")]);
        assert_eq!(without, [secret("db")]);
        assert!(away(without, &[secret("db")]).is_empty());
    }

    #[test]
    fn whatever_is_in_a_sensitive_output_is_hidden() {
        let shown = json!({"env": {"A": "user:topsecret@db", "B": "443", "C": "20443"}});
        let output = json!({"db": {"password": "topsecret", "pins": [20443, 443]}, "on": true});
        let hidden = hide_secrets(shown, &Objects::default(), &[output]);
        assert_eq!(hidden, json!({"env": {"A": "user:(hidden)@db", "B": "443", "C": "(hidden)"}}));
    }

    #[test]
    fn a_short_secret_is_shown_in_the_middle_of_a_word_and_hidden_elsewhere_a_long_one_everywhere() {
        let output = json!({"name": "local", "user": "ro$ot", "password": "longenough"});
        let shown = [
            ("local", "(hidden)"),
            ("admin.local.localhost", "admin.local.localhost"),
            ("local:local@local/x", "(hidden):(hidden)@(hidden)/x"),
            ("mysql://ro$$ot:xlongenoughx@db", "mysql://(hidden):x(hidden)x@db"),
            ("--user=ro$ot", "--user=(hidden)"),
            ("mysql -uro$ot -plocal", "mysql -u(hidden) -p(hidden)"),
        ];
        for (text, expected) in shown {
            assert_eq!(
                hide_secrets(text.into(), &Objects::default(), std::slice::from_ref(&output)),
                expected,
                "{text}"
            );
        }
    }
}
