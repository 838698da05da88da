//! `envctl logs`

use envctl_model::log::LogOptions;
use futures_util::StreamExt;
use jiff::Timestamp;

use crate::config::Base;
use crate::flows::logs;
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
    let options = LogOptions { follow: arguments.follow, tail: arguments.tail, since };
    let mut logs = logs::logs(base, &arguments.components, options).await?;
    while let Some(line) = logs.lines.next().await {
        let line = line?;
        match format {
            Format::Json => print(&serde_json::to_string(&line).map_err(Failure::failed)?),
            Format::Text if logs.of_one => print(&line.text),
            Format::Text => print(&format!("{}/{} | {}", line.pod, line.container, line.text)),
        }
    }
    Ok(())
}
