//! `envctl render`

use std::path::PathBuf;

use envctl_model::stack::TargetKind;
use serde_json::Value;

use super::up::Chart;
use crate::config::Base;
use crate::flows::chart::{self, Objects};
use crate::flows::local::compose;
use crate::flows::{cluster, local};
use crate::ui::{Failure, print};

/// Flags.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// What to show
    #[arg(long, value_enum, default_value_t = Format::Compose)]
    format: Format,
    /// Translate this file of rendered manifests instead of the stack's chart
    #[arg(long, value_name = "FILE")]
    from_manifests: Option<PathBuf>,
    /// Show values of Secrets and sensitive inputs
    #[arg(long)]
    show_secrets: bool,
    #[command(flatten)]
    chart: Chart,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// The Compose file, as JSON (which is YAML)
    Compose,
    /// The Kubernetes objects, as a YAML stream of JSON documents
    Objects,
}

pub(super) async fn run(base: &Base, arguments: Arguments) -> Result<(), Failure> {
    if let Some(file) = &arguments.from_manifests {
        let text = std::fs::read_to_string(file)
            .map_err(|e| Failure::Usage(format!("cannot read {}: {e}", file.display())))?;
        let objects = chart::parse(&text, &file.display().to_string())?;
        return match arguments.format {
            Format::Compose => pretty(&compose::translate_manifests(objects)?.compose),
            Format::Objects => documents(objects.iter().map(|o| &o.body)),
        };
    }
    let project = base.stack()?;
    let settings = base.settings(&project)?;
    let options = arguments.chart.clone().options();
    let target = &settings.target.value;
    match (project.file.stack.targets[target].kind.value, arguments.format) {
        (TargetKind::Compose, Format::Compose) => {
            let checked = local::up::check(base, &project, &settings, &options).await?;
            let shown = checked.translation.compose.clone();
            pretty(&arguments.shown(shown, &checked.objects, &checked.sensitive))
        }
        (TargetKind::Compose, Format::Objects) => {
            let checked = local::up::check(base, &project, &settings, &options).await?;
            arguments.objects(&checked.objects, &checked.sensitive)
        }
        (TargetKind::Eks, Format::Objects) => {
            let checked = cluster::up::check(base, &project, &settings, &options).await?;
            arguments.objects(&checked.objects, &checked.sensitive)
        }
        (TargetKind::Eks, Format::Compose) => Err(Failure::Usage(format!(
            "target `{target}` is a cluster, which takes no Compose file\n  \
             what it takes: envctl render --format objects --target {target}"
        ))),
    }
}

impl Arguments {
    fn shown(&self, value: Value, objects: &Objects, sensitive: &[Value]) -> Value {
        if self.show_secrets { value } else { chart::hide_secrets(value, objects, sensitive) }
    }

    fn objects(&self, objects: &Objects, sensitive: &[Value]) -> Result<(), Failure> {
        let shown = objects.list.iter().map(|object| {
            let body = chart::hide_secret(&object.body, self.show_secrets);
            self.shown(body, objects, sensitive)
        });
        documents(shown.collect::<Vec<_>>().iter())
    }
}

fn pretty(value: &Value) -> Result<(), Failure> {
    print(&serde_json::to_string_pretty(value).map_err(Failure::failed)?);
    Ok(())
}

fn documents<'a>(values: impl Iterator<Item = &'a Value>) -> Result<(), Failure> {
    for value in values {
        print("---");
        pretty(value)?;
    }
    Ok(())
}
