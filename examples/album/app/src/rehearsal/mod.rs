//! What rehearsals of a cutover need of the application: something to ask for, jobs to do, and ledgers of what was done.

pub mod enqueue;
pub mod ledger;
pub mod sample;

use crate::Result;
use serde::Serialize;
use std::io::Write;

/// Tells one thing, a line of JSON; whoever reads has it at once.
fn tell(line: &impl Serialize) -> Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, line)?;
    out.write_all(b"\n")?;
    Ok(out.flush()?)
}
