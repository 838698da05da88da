//! `down`, wherever the environment lives.

use envctl_model::name::EnvironmentName;

use super::interrupts::Interrupts;
use super::local;
use super::run::Screen;
use crate::config::Base;
use crate::ui::{Failure, Format};

/// Removes an environment and prints the receipt.
pub(crate) async fn down(base: &Base, name: &EnvironmentName, format: Format) -> Result<(), Failure> {
    let interrupts = Interrupts::listen()?;
    let screen = Screen::new(format);
    let result = local::down::remove(base, name, &interrupts, &screen).await;
    screen.finish().await;
    result
}
