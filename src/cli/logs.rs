//! `envctl logs`

use envctl_local::logs::{LogOptions, lines, select};
use envctl_local::state;
use futures_util::StreamExt;
use jiff::Timestamp;

use super::subject;
use crate::config::Base;
use crate::flows::local::machine::{explain, look};
use crate::ui::{Failure, Format, print};

/// Flags.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Components, workloads or pods [default: all]
    components: Vec<String>,
    /// Stay and show new lines
    #[arg(long, short)]
    follow: bool,
    /// Only the last lines of each container
    #[arg(long, value_name = "LINES")]
    tail: Option<u64>,
    /// Only lines of the last 5m, 2h, 1d
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
}

pub(super) async fn run(base: &Base, arguments: Arguments, format: Format) -> Result<(), Failure> {
    let since = arguments
        .since
        .as_deref()
        .map(|text| {
            let span = envctl_model::stack::parse_ttl(text).ok().flatten();
            let at = span.and_then(|span| Timestamp::now().checked_sub(span).ok());
            at.ok_or_else(|| Failure::Usage(format!("`{text}` is not a time: write `5m`, `2h` or `1d`")))
        })
        .transpose()?;
    let record = subject(base)?;
    let reader = look(base).await?;
    let containers = state::containers(&reader, &record.identity).await.map_err(|e| explain(&e))?;
    let mut chosen = Vec::new();
    if arguments.components.is_empty() {
        chosen = select(&containers, None).map_err(|e| Failure::Usage(e.to_string()))?;
    }
    for name in &arguments.components {
        for container in select(&containers, Some(name)).map_err(|e| Failure::Usage(e.to_string()))? {
            if !chosen.iter().any(|c| c.id == container.id) {
                chosen.push(container);
            }
        }
    }
    let alone = chosen.len() == 1;
    let chosen: Vec<_> = chosen.into_iter().cloned().collect();
    let options = LogOptions { follow: arguments.follow, tail: arguments.tail, since };
    let mut lines = lines(&reader, &chosen, options);
    while let Some(line) = lines.next().await {
        let line = line.map_err(|e| explain(&e))?;
        match format {
            Format::Json => print(&serde_json::to_string(&line).map_err(Failure::failed)?),
            Format::Text if alone => print(&line.text),
            Format::Text => print(&format!("{}/{} | {}", line.pod, line.container, line.text)),
        }
    }
    Ok(())
}
