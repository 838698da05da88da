//! What AWS lists under tags, whichever of its services made it.

use aws_sdk_resourcegroupstagging::types::TagFilter;

use super::Session;
use crate::error::ClusterError;

/// A thing of AWS, and its tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tagged {
    pub(crate) arn: String,
    pub(crate) tags: Vec<(String, String)>,
}

/// Everything with this tag, sorted by ARN. `doing` says why, for the error.
pub(crate) async fn tagged(
    session: &Session,
    key: &str,
    value: &str,
    doing: &str,
) -> Result<Vec<Tagged>, ClusterError> {
    let client = aws_sdk_resourcegroupstagging::Client::new(session.config());
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
