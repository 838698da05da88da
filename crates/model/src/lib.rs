//! The data of envctl: names, stack file, facts, plan, event, finding, receipt. No I/O.
//!
//! Everything here can be made, compared, stored and printed without touching the world; the
//! crates that do touch it take these types and give them back.

pub mod cutover;
pub mod diagnostic;
pub mod event;
pub mod facts;
pub mod finding;
pub mod host;
pub mod lifetime;
pub mod log;
pub mod name;
pub mod plan;
pub mod quantity;
pub mod receipt;
pub mod record;
pub mod requires;
pub mod selection;
pub mod settings;
pub mod spelling;
pub mod stack;
pub mod units;
pub mod yaml;

pub use diagnostic::Diagnostic;
/// What the agent knows things by, too.
pub use envctl_wire::labels;
pub use event::Event;
pub use finding::Finding;
pub use plan::{Plan, Step, StepId};
pub use receipt::{Receipt, Thing, ThingKind};
