//! Rehearses cutovers.
//!
//! `load`, `work`, `answers`, `proxy` and `haproxy` act on a sandbox; what is seen there, told by a `ledger` or by an
//! `access_log`, becomes an [`Observation`] in a [`Recording`], which the [`Recorder`] writes. `gates` judge a recording
//! and nothing else; `evidence` signs what came of it (`tally`), `report` draws it. `director` says in which order
//! things are done, undone, broken and judged.

pub mod access_log;
pub mod answers;
pub mod director;
mod draw;
pub mod evidence;
pub mod gates;
pub mod haproxy;
pub mod ledger;
pub mod load;
pub mod observation;
pub mod proxy;
pub mod recorder;
pub mod recording;
pub mod report;
pub mod statistics;
pub mod tally;
pub mod timetable;
pub mod work;

pub use envctl_cron as cron;
pub use observation::{Observation, Time};
pub use recorder::Recorder;
pub use recording::Recording;
