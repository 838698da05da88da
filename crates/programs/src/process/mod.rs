//! One way to start a program: no shell, a process group of its own, output kept within bounds,
//! interruption that lets the program save its state, and a word to the journal about its pid.

mod capture;
mod children;
mod command;
mod error;
mod signals;
mod version;

pub use children::{Child, Children, Unwatched, end, gone, process_space, start_time, still_alive};
pub use command::{Command, Input, Output, Stream, Supervisor};
pub use error::{Ended, Failure, ProgramError};
pub use signals::{Interrupter, Signals};
pub use version::{Tool, Version};
