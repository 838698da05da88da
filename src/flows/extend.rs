//! A longer life for an environment.

use envctl_cluster::namespace;
use envctl_model::name::EnvironmentName;
use envctl_model::record::Record;
use envctl_model::stack::parse_ttl;
use jiff::Timestamp;

use super::cluster::owned::{change, save};
use super::cluster::target::explain;
use super::local;
use super::local::owned::Owned;
use super::locate::{Whereabouts, whereabouts};
use crate::config::Base;
use crate::ui::{Failure, ago};

/// Has the environment expire `ttl` from now (`never`: not at all), and gives that time.
pub(crate) async fn extend(
    base: &Base,
    name: &EnvironmentName,
    ttl: &str,
) -> Result<Option<Timestamp>, Failure> {
    let span = parse_ttl(ttl).map_err(Failure::Usage)?;
    let expires = span.and_then(|span| Timestamp::now().checked_add(span).ok());
    match whereabouts(base, name)? {
        Whereabouts::Local => {
            local::owned::change(base, name, "extend", async |Owned { home, mut record, .. }| {
                lengthen(&mut record, expires)?;
                home.save_record(&record)
            })
            .await?;
        }
        Whereabouts::Cluster(destination) => {
            change(base, &destination, name, "extend", async |cluster, mut record| {
                lengthen(&mut record, expires)?;
                // The platform's rules judge this one: it comes first.
                namespace::extend(cluster, name.as_str(), expires).await.map_err(|e| explain(&e))?;
                save(base, &destination, cluster, &record).await
            })
            .await?;
        }
    }
    Ok(expires)
}

/// `extend` makes no life shorter.
fn lengthen(record: &mut Record, expires: Option<Timestamp>) -> Result<(), Failure> {
    let shorter = match (record.expires, expires) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(before), Some(after)) => after < before,
    };
    if shorter {
        let now = record.expires.map_or_else(
            || "never expires".to_owned(),
            |at| format!("expires in {} anyway", ago(Timestamp::now(), at)),
        );
        return Err(Failure::Refused(format!(
            "environment `{}` {now}: that would make its life shorter\n  `envctl up --ttl` can do that",
            record.name
        )));
    }
    record.expires = expires;
    Ok(())
}
