//! What machines say, also after they were started again.

use envctl_model::lifetime::State;
use envctl_model::log::LogLine;
use futures_util::TryStreamExt as _;
use futures_util::stream::{self, BoxStream};
use jiff::Timestamp;

use super::Machines;
use crate::engine::EngineError;
use crate::logs::lines_of_each;

impl Machines {
    /// The lines of all machines from `since` on, each once, with the Engine's times, without end. The machine's
    /// name is the line's `container`.
    pub fn lines(&self, since: Timestamp) -> BoxStream<'static, Result<LogLine, EngineError>> {
        let this = self.clone();
        let first = stream::once(async move {
            let names = this.list().await?.into_iter().map(|machine| Ok(machine.instance));
            Ok(stream::iter(names.collect::<Vec<_>>()))
        });
        let again = self.changes(since).try_filter_map(|change| async move {
            Ok((change.state == State::Started).then_some(change.instance))
        });
        lines_of_each(self.reader(), stream::select(first.try_flatten(), again), since)
    }
}
