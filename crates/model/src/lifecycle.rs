//! What containers want done in the course of their lives.

use serde::{Deserialize, Serialize};

/// What a container wants done before it is asked to end: `lifecycle.preStop`. As JSON it is the value
/// of the label [`crate::labels::BEFORE_STOP`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum BeforeStop {
    /// This command is run in it.
    Exec(Vec<String>),
    /// So many seconds go by: others learn meanwhile that it is going.
    Sleep(u64),
}
