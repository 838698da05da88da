//! Cutover plans: how one component moves from its old side to its new one.

mod bake;
pub mod catalogue;
mod check;
mod course;
mod explain;
mod faults;
mod file;
mod judges;
mod load;
mod order;
#[cfg(test)]
mod page;
pub mod plan;
pub mod production;
mod read;
mod samples;
mod sides;
mod standing;
mod step_file;
#[cfg(test)]
mod tests;
mod usual;

pub use explain::{explain, not_exercised};
pub use file::schema;
pub use plan::{Action, CutoverPlan, FaultKind, GateKind, Side, Step};
pub use read::PlanFile;
pub use samples::LEAST_FOR_P99;
pub use usual::{drill_gates, usual_gates};
