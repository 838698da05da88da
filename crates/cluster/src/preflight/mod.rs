//! What can be known before anything is written: rights, room, classes.

pub mod classes;
pub mod needs;
pub mod rights;
pub mod room;
