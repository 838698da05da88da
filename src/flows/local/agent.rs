//! The agent that is carried inside this program.

use crate::ui::Failure;

/// Docker's word for the architecture, and the program.
static AGENTS: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/agents.rs"));

/// The agent for an Engine's architecture (`amd64`, `arm64`).
pub(crate) fn for_architecture(architecture: &str) -> Result<&'static [u8], Failure> {
    AGENTS.iter().find(|(name, _)| *name == architecture).map(|(_, binary)| *binary).ok_or_else(|| {
        Failure::Failed(format!(
            "this envctl carries no agent for {architecture}, the architecture of the Docker Engine\n  \
             build envctl with `make build`, which builds the agent first"
        ))
    })
}
