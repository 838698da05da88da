//! What AWS lists under tags, whichever of its services made it.

use aws_sdk_resourcegroupstagging::types::TagFilter;

use std::time::{Duration, Instant};

use super::Session;
use crate::error::ClusterError;

/// Asks for what AWS lists until it is as `expected`: its lists lag behind what was removed. What it still
/// lists at `deadline`.
///
/// # Errors
/// When AWS refuses or does not answer.
pub async fn caught_up<T, F>(
    deadline: Instant,
    expected: impl Fn(&T) -> bool,
    list: impl Fn() -> F,
) -> Result<T, ClusterError>
where
    F: Future<Output = Result<T, ClusterError>>,
{
    let mut pause = Duration::from_millis(500);
    loop {
        let listed = list().await?;
        if expected(&listed) || Instant::now() + pause > deadline {
            return Ok(listed);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(5));
    }
}

/// A thing of AWS, and its tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tagged {
    pub(crate) arn: String,
    pub(crate) tags: Vec<(String, String)>,
}

/// Everything with this tag in a region, that of the session if there is none, sorted by ARN. `doing` says
/// why, for the error.
pub(crate) async fn tagged(
    session: &Session,
    region: Option<&str>,
    key: &str,
    value: &str,
    doing: &str,
) -> Result<Vec<Tagged>, ClusterError> {
    let mut config = aws_sdk_resourcegroupstagging::config::Builder::from(session.config());
    if let Some(region) = region {
        config = config.region(aws_config::Region::new(region.to_owned()));
    }
    let client = aws_sdk_resourcegroupstagging::Client::from_conf(config.build());
    let filter = TagFilter::builder().key(key).values(value).build();
    let mut pages = client.get_resources().tag_filters(filter).into_paginator().send();
    let mut all = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.map_err(ClusterError::from_aws(doing))?;
        all.extend(page.resource_tag_mapping_list.unwrap_or_default().into_iter().filter_map(|mapping| {
            let tags = mapping.tags.unwrap_or_default();
            Some(Tagged {
                arn: mapping.resource_arn?,
                tags: tags.into_iter().map(|tag| (tag.key, tag.value)).collect(),
            })
        }));
    }
    all.sort_by(|one, other| one.arn.cmp(&other.arn));
    Ok(all)
}
