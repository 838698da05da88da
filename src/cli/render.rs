//! `envctl render`

use std::path::PathBuf;

use serde_json::Value;

use super::up::Chart;
use crate::config::Base;
use crate::flows::chart;
use crate::flows::local::{compose, up};
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
    let checked = up::check(base, &project, &settings, &arguments.chart.options()).await?;
    let hidden = |value: Value| {
        if arguments.show_secrets {
            value
        } else {
            chart::hide_secrets(value, &checked.objects, &checked.sensitive)
        }
    };
    match arguments.format {
        Format::Compose => pretty(&hidden(checked.translation.compose.clone())),
        Format::Objects => {
            let shown: Vec<_> = checked
                .objects
                .list
                .iter()
                .map(|o| hidden(chart::hide_secret(&o.body, arguments.show_secrets)))
                .collect();
            documents(shown.iter())
        }
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
