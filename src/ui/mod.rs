//! All that reaches the screen.

mod failure;
mod printer;
mod table;
pub(crate) mod terminal;

pub(crate) use failure::Failure;
pub(crate) use printer::{Format, Printer, colour_on_stderr, notice, print, print_json};
pub(crate) use table::{ago, expiry, table};
