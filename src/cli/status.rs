//! `envctl status`

use jiff::Timestamp;

use crate::config::Base;
use crate::flows::status;
use crate::ui::{Failure, Format, ago, print, print_json, table};

pub(super) async fn run(base: &Base, format: Format) -> Result<(), Failure> {
    let report = status::status(base).await?;
    if format == Format::Json {
        return print_json(&report);
    }
    let now = Timestamp::now();
    let expires = match report.expires {
        None => "expires never".to_owned(),
        Some(at) if at <= now => format!("expired {} ago", ago(at, now)),
        Some(at) => format!("expires in {}", ago(now, at)),
    };
    let asleep = match &report.asleep {
        Some(since) => format!(" · asleep since {since}; `envctl wake` wakes it"),
        None => String::new(),
    };
    print(&format!(
        "{} · {} · target {} · owner {} · {expires}{asleep}",
        report.name, report.phase, report.target, report.owner
    ));
    if !report.left_out.is_empty() {
        print(&format!("left out (--only): {}; `envctl up` starts all", report.left_out.join(", ")));
    }
    if !report.live.is_empty() {
        print(&format!("live source (--dev): {}; `envctl up` takes it away", report.live.join(", ")));
    }
    for url in &report.urls {
        print(url);
    }
    print(&table(
        &["POD", "WORKLOAD", "STATE", "RESTARTS", "CONTAINERS"],
        report.pods.into_iter().map(|pod| {
            let state = match (pod.ready, pod.completed) {
                (true, _) => "ready",
                (_, true) => "completed",
                _ => "not ready",
            };
            let containers: Vec<_> = pod
                .containers
                .iter()
                .map(|c| match c.exit_code {
                    Some(code) => format!("{} {} ({code})", c.name, c.state),
                    None => format!("{} {}", c.name, c.state),
                })
                .collect();
            vec![pod.name, pod.workload, state.to_owned(), pod.restarts.to_string(), containers.join(", ")]
        }),
    ));
    Ok(())
}
