//! `down`, wherever the environment lives.

use envctl_model::name::EnvironmentName;

pub(crate) use super::cluster::down::Options;
use super::interrupts::Interrupts;
use super::locate::{Whereabouts, whereabouts};
use super::run::Screen;
use super::{cluster, local};
use crate::config::Base;
use crate::ui::{Failure, Format};

/// Removes an environment and prints the receipt.
pub(crate) async fn down(
    base: &Base,
    name: &EnvironmentName,
    options: &Options,
    format: Format,
) -> Result<(), Failure> {
    let interrupts = Interrupts::listen()?;
    let screen = Screen::new(format);
    let result = match whereabouts(base, name)? {
        Whereabouts::Local => local::down::remove(base, name, &interrupts, &screen).await,
        Whereabouts::Cluster(destination) => {
            cluster::down::remove(base, &destination, name, options, &interrupts, &screen).await
        }
    };
    screen.finish().await;
    result
}
