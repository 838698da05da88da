//! What containers say, also after they were started again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use envctl_model::log::{LogLine, LogOptions, LogStream};
use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;

use super::lines;
use crate::engine::{EngineError, EngineReader};
use crate::state;

/// The time of the last line that was handed over, by pod, container and stream.
type Seen = Arc<Mutex<HashMap<(String, String, Option<LogStream>), Timestamp>>>;

/// The lines from `since` on of every container that is named, each line once, with the Engine's times. A log that is
/// followed ends with the process: one that was started again is named again.
pub(crate) fn lines_of_each(
    reader: &EngineReader,
    names: impl Stream<Item = Result<String, EngineError>> + Send + 'static,
    since: Timestamp,
) -> BoxStream<'static, Result<LogLine, EngineError>> {
    let (reader, seen) = (reader.clone(), Seen::default());
    names
        .flat_map_unordered(None, move |name| match name {
            Ok(name) => of_container(reader.clone(), name, since, seen.clone()),
            Err(error) => stream::once(async { Err(error) }).boxed(),
        })
        .boxed()
}

fn of_container(
    reader: EngineReader,
    name: String,
    since: Timestamp,
    seen: Seen,
) -> BoxStream<'static, Result<LogLine, EngineError>> {
    let opened = async move {
        let Some(container) = state::container(&reader, &name).await? else {
            return Ok(stream::empty().boxed());
        };
        let options = LogOptions { follow: true, tail: None, since: Some(since) };
        Ok::<_, EngineError>(lines(&reader, &[container], options))
    };
    let all = stream::once(opened).try_flatten();
    all.try_filter(move |line| std::future::ready(is_new(&seen, since, line))).boxed()
}

/// Whether a line was not handed over yet. Several followers of one log may be under way for a moment, each with
/// all lines from the beginning; the lines of one stream are in the order of their times.
fn is_new(seen: &Seen, since: Timestamp, line: &LogLine) -> bool {
    let Some(time) = line.time else { return true };
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    // The Engine goes by whole seconds.
    let last = seen.entry((line.pod.clone(), line.container.clone(), line.stream)).or_insert(since);
    let is_new = time > *last;
    if is_new {
        *last = time;
    }
    is_new
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(stream: LogStream, time: &str) -> LogLine {
        let name = "old-api-1".to_owned();
        LogLine {
            pod: name.clone(),
            container: name,
            stream: Some(stream),
            time: Some(time.parse().unwrap()),
            text: String::new(),
        }
    }

    #[test]
    fn two_followers_of_one_log_give_each_line_once() {
        let (out, err) = (LogStream::Stdout, LogStream::Stderr);
        let seen = Seen::default();
        let new =
            |stream, time| is_new(&seen, "2026-01-01T00:00:00.5Z".parse().unwrap(), &line(stream, time));
        assert!(!new(out, "2026-01-01T00:00:00.4Z"), "before it began");
        assert!(new(out, "2026-01-01T00:00:01.2Z"));
        assert!(new(err, "2026-01-01T00:00:01.1Z"), "streams are written side by side");
        assert!(!new(out, "2026-01-01T00:00:01.2Z"), "the second follower's");
        assert!(new(out, "2026-01-01T00:00:01.3Z"));
    }
}
