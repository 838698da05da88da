//! Watching objects, and one of them until it is as wanted.

use std::fmt::Debug;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use kube::runtime::utils::Backoff;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

use crate::client::ClusterReader;
use crate::error::ClusterError;
use crate::patience::PAUSES;

/// Watches an object until it is as wanted, or gone: then `None`. A watch that breaks is taken up again, for
/// as long as the caller waits; one that the cluster refuses is not asked for without pause.
pub(crate) async fn until<K>(api: Api<K>, name: &str, wanted: impl Fn(&K) -> bool) -> Option<K>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let mut seen = watch(api, name).boxed();
    while let Some(next) = seen.next().await {
        match next {
            Ok(None) => return None,
            Ok(Some(object)) if wanted(&object) => return Some(object),
            Ok(Some(_)) | Err(_) => {}
        }
    }
    None
}

/// An object as it changes; `None` once it is gone.
pub(crate) fn watch<K>(
    api: Api<K>,
    name: &str,
) -> impl Stream<Item = watcher::Result<Option<K>>> + Send + use<K>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    watcher::watch_object(api, name).backoff(Pauses::default())
}

/// Watches an object until it is gone.
pub(crate) async fn until_gone<K>(api: Api<K>, name: &str)
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    until(api, name, |_| false).await;
}

/// All objects of a kind as they change. A watch that breaks is taken up again.
pub(crate) fn watch_all<K>(
    api: Api<K>,
) -> impl Stream<Item = watcher::Result<watcher::Event<K>>> + Send + use<K>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
    K::DynamicType: Default,
{
    watcher(api, watcher::Config::default()).backoff(Pauses::default())
}

/// What an error of a watch means to who watches: a refusal is one, and silence and old versions are not.
pub(crate) fn refusal(reader: &ClusterReader, error: watcher::Error) -> Option<ClusterError> {
    let inner = match error {
        watcher::Error::InitialListFailed(inner)
        | watcher::Error::WatchStartFailed(inner)
        | watcher::Error::WatchFailed(inner) => inner,
        watcher::Error::WatchError(status) if matches!(status.code, 401 | 403) => kube::Error::Api(status),
        _ => return None,
    };
    let error = reader.failed("to be watched")(inner);
    let is_refusal =
        matches!(&error, ClusterError::Api { status: 401 | 403, .. } | ClusterError::Credentials { .. });
    is_refusal.then_some(error)
}

#[derive(Debug, Default)]
struct Pauses(usize);

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let pause = PAUSES[self.0.min(PAUSES.len() - 1)];
        self.0 += 1;
        Some(pause)
    }
}

impl Backoff for Pauses {
    fn reset(&mut self) {
        self.0 = 0;
    }
}
