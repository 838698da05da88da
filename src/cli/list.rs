//! `envctl list`

use jiff::Timestamp;

use crate::config::Base;
use crate::flows::list::{self, Row};
use crate::ui::{Failure, Format, ago, expiry, print, print_json, table};

pub(super) async fn run(base: &Base, format: Format) -> Result<(), Failure> {
    let listed = list::list(base).await?;
    if format == Format::Json {
        print_json(&listed.rows)?;
    } else if listed.rows.is_empty() && listed.failures.is_empty() {
        print("there are no environments; `envctl up` makes one");
    } else if !listed.rows.is_empty() {
        print(&table(
            &["NAME", "OWNER", "TARGET", "STATE", "RUNNING", "CPU", "MEMORY", "AGE", "EXPIRES", "URL"],
            listed.rows.into_iter().map(shown),
        ));
    }
    // What could be listed was.
    match listed.failures.into_iter().next() {
        Some(failure) => Err(failure),
        None => Ok(()),
    }
}

fn shown(row: Row) -> Vec<String> {
    let now = Timestamp::now();
    let target = match &row.cluster {
        Some(cluster) => format!("{} ({cluster})", row.target),
        None => row.target,
    };
    let state = if row.asleep.is_some() { "asleep".to_owned() } else { row.phase.to_string() };
    let running = row.running.map_or_else(|| "?".to_owned(), |n| n.to_string());
    let dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let age = ago(row.created, now);
    vec![
        row.name,
        row.owner,
        target,
        state,
        running,
        dash(row.cpu),
        dash(row.memory),
        age,
        expiry(row.expires, now),
        row.urls.join(" "),
    ]
}
