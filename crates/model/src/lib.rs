//! The data of envctl: names, stack file, facts, plan, event, finding, receipt. No I/O.

pub mod finding;
