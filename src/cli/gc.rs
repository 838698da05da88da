//! `envctl gc`

use jiff::{SignedDuration, Timestamp};

use crate::config::Base;
use crate::flows::gc::Collector;
use crate::ui::{Failure, Format, expiry, print, print_json, table};

/// Flags.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Remove what has expired; without this it is only shown
    #[arg(long, short)]
    yes: bool,
    /// Show also what expires within this many minutes
    #[arg(long, value_name = "MINUTES", default_value_t = 120)]
    warn_within: i64,
}

pub(super) async fn run(base: &Base, arguments: &Arguments, format: Format) -> Result<(), Failure> {
    let soon = SignedDuration::from_mins(arguments.warn_within.clamp(0, 60 * 24 * 365));
    let collector = Collector::look(base, soon).await?;
    let found = collector.found();
    if arguments.yes {
        let collected = collector.collect(base, format).await?;
        if format == Format::Text {
            print(&format!("{} removed, {} not", collected.removed, collected.kept.len()));
        }
        let left = collected.kept.iter().any(|(_, failure)| matches!(failure, Failure::Left));
        if left {
            return Err(Failure::Left);
        }
        // It is somebody else's, locked, or was extended: somebody wants it.
        let taken = |failure: &Failure| matches!(failure, Failure::Taken(_));
        if !collected.kept.iter().all(|(_, failure)| taken(failure)) {
            return Err(Failure::Reported);
        }
    } else if format == Format::Json {
        print_json(&found)?;
    } else if found.is_empty() {
        print("nothing has expired");
    } else {
        let now = Timestamp::now();
        print(&table(
            &["NAME", "OWNER", "WHERE", "EXPIRES"],
            found.iter().map(|one| {
                let place = one.cluster.clone().unwrap_or_else(|| "this machine".to_owned());
                vec![one.name.clone(), one.owner.clone(), place, expiry(Some(one.expires), now)]
            }),
        ));
        let expired = found.iter().filter(|one| one.expired).count();
        print(&format!(
            "{expired} expired, {} soon; nothing was removed: `envctl gc --yes` removes what has expired",
            found.len() - expired
        ));
    }
    match collector.failures.into_iter().next() {
        Some(failure) => Err(failure),
        None => Ok(()),
    }
}
